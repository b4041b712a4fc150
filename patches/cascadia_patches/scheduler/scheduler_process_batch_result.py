"""BEFORE hook on Scheduler.process_batch_result: note when a batch's result is there.

Upstream: waits for the result of a batch and reads it. In an overlapped loop the next batch has
been launched by then.
We need: the end of every step. SGLang's own step counters hold the rest of the step before; its
forward-pass metrics need the events of an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler
    from sglang.srt.managers.utils import GenerationBatchResult

    from cascadia_sglang.worker.step_log import StepLog


def _build(log: StepLog) -> Callable[..., None]:
    def note_result(
        scheduler: Scheduler,
        batch: ScheduleBatch,
        result: GenerationBatchResult,
        *_args: object,
        **_options: object,
    ) -> None:
        log.finish(scheduler, batch, result)

    return note_result


PATCH = PatchSpec(
    target="sglang.srt.managers.scheduler.Scheduler.process_batch_result",
    hook_type="before",
    kind="function",
    parameters=("batch", "result"),
    build=_build,
    reason="a step that overlaps the next one ends with its result, not with its launch",
    drop_when="SGLang's forward-pass metrics work without an accelerator",
)
