"""BEFORE hook on Scheduler._relay_forward_payload: go on from where a draft is the tier's own.

Upstream: hands the tokens that a forward has sampled to the next one.
We need: a request that read a draft to be shortened first to what it keeps, for the sampled token
comes after that. In an overlapped loop `launch_batch_sample_if_needed` does it, which comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler

    from cascadia_sglang.drafts.reader import DraftReader


def _build(reader: DraftReader) -> Callable[..., None]:
    def settle_drafts(
        scheduler: Scheduler, batch: ScheduleBatch, *_args: object, **_options: object
    ) -> None:
        reader.settle_relayed(scheduler, batch)

    return settle_drafts


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler._relay_forward_payload",
    hook_type="before",
    kind="function",
    parameters=("batch",),
    build=_build,
    reason="the tokens that a tier would not have written are taken back before it writes on",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
