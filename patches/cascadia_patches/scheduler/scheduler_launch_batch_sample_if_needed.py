"""AFTER hook on Scheduler.launch_batch_sample_if_needed: settle drafts as late as is safe.

Upstream: the last thing that the overlapped loop does with a batch before it makes the next one;
the results of the batch before are processed by then.
We need: a request that read a draft to be shortened to what it keeps. That waits for the forward,
so it must not hold back the tokens of the batch before.
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
        _result: object,
        scheduler: Scheduler,
        _batch_result: object,
        cur_batch: ScheduleBatch | None,
        *_args: object,
    ) -> None:
        reader.settle(scheduler, cur_batch)

    return settle_drafts


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler.launch_batch_sample_if_needed",
    hook_type="after",
    kind="function",
    parameters=("batch_result", "cur_batch"),
    build=_build,
    reason="the tokens that a tier would not have written are taken back before the next batch",
    drop_when="SGLang takes a prefix of the output with a request, and verifies it",
)
