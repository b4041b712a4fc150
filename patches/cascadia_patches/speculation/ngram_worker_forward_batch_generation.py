"""AROUND hook on NGRAMWorker.forward_batch_generation: verify as many tokens as gain most.

Upstream: every step of every request verifies the number of tokens that the worker started with.
We need: fewer where each of them costs as much as the one before, as on a busy host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

    from cascadia_sglang.drafts.verify_window import WindowedSteps


def _build(steps: WindowedSteps) -> Callable[..., Any]:
    def forward_batch_generation(
        original: Callable[..., Any],
        worker: NGRAMWorker,
        batch: ScheduleBatch,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        def forward() -> Any:
            return original(worker, batch, *args, **kwargs)

        return steps.run(forward, worker, batch)

    return forward_batch_generation


PATCH = PatchSpec(
    target="sglang.srt.speculative.ngram_worker.NGRAMWorker.forward_batch_generation",
    hook_type="around",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="what a verified token gains and costs depends on the load",
    drop_when="SGLang chooses the number of verified tokens of NGRAM speculation by the load",
)
