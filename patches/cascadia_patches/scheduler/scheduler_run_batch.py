"""AROUND hook on Scheduler.run_batch: note what every batch holds and when it is launched.

Upstream: launches one batch; on a CPU it computes it.
We need: measured step times of the real worker. Upstream's forward-pass metrics need the events of
an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler

    from cascadia_sglang.worker.step_log import StepLog


def _build(log: StepLog) -> Callable[..., Any]:
    def run_batch(
        original: Callable[..., Any],
        scheduler: Scheduler,
        batch: ScheduleBatch,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        return log.run(scheduler, batch, lambda: original(scheduler, batch, *args, **kwargs))

    return run_batch


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler.run_batch",
    hook_type="around",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="a profile is measured on the real worker's own steps",
    drop_when="SGLang's forward-pass metrics work without an accelerator",
)
