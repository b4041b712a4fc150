"""A worker's log of its batch steps: content and duration.

A JSON line for the worker, then one for every step. Read by `cascadia_sglang.profiling.steps`.

How a step is timed depends on the scheduler's loop:

- A serial loop, or a device whose forward returns when it is done (a CPU): from the launch of the
  step to the launch of the next, where the worker went straight on.
- An overlapped loop only launches. The next step is launched while this one runs, so the time from
  launch to launch belongs to the step before. A step takes from the result before it, or from its
  own launch after a pause, to its own result.

SGLang's own counters take decodes from launch to launch, and prefills from their launch. Both then
hold the rest of a step that was under way (a 90 ms prefill shows in the second decode after it).
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cascadia_sglang.worker.batch_shape import BatchShape, shape_of

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler
    from sglang.srt.managers.utils import GenerationBatchResult

T = TypeVar("T")

# Folder that workers write to; set by `cascadia profile`.
STEP_LOG_FOLDER = "CASCADIA_STEP_LOG"


@dataclass(slots=True, kw_only=True)
class _OpenStep:
    """A step that was launched.

    Attributes:
        number: the scheduler's count of forwards.
        after_pause: whether the scheduler had nothing to do before it.
        device_s: how long the worker has waited for the device.
        given_tokens: to the requests of a decoding step; None where the step did not say.
    """

    number: int
    shape: BatchShape
    launched_s: float
    after_pause: bool
    ended_s: float
    device_s: float
    given_tokens: int | None = None


class StepLog:
    """Writes the steps of one worker."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._worker_id = worker_id
        self._file = (folder / f"{worker_id}.jsonl").open("w", encoding="utf-8", buffering=1)
        self._open: deque[_OpenStep] = deque()
        self._result_s: float | None = None
        self._has_header = False

    def run(self, scheduler: Scheduler, batch: ScheduleBatch, forward: Callable[[], T]) -> T:
        """Launch a batch and note it.

        Args:
            scheduler: SGLang's.
            batch: a `ScheduleBatch`.
            forward: launches it; on a blocking device it also computes it.
        """
        if batch.forward_mode.is_idle():
            return forward()
        if not self._has_header:
            self._write(_header(scheduler, self._worker_id))
            self._has_header = True
        # The scheduler notes whether it has found nothing to do since the last batch.
        after_pause = scheduler._sched_idled
        launched_s = time.monotonic()
        if not _overlaps(scheduler) and self._open:
            self._close(self._open.popleft(), None if after_pause else launched_s)
        shape = shape_of(batch)
        result = forward()
        ended_s = time.monotonic()
        self._open.append(
            _OpenStep(
                number=scheduler.forward_ct,
                shape=shape,
                launched_s=launched_s,
                after_pause=after_pause,
                ended_s=ended_s,
                device_s=ended_s - launched_s if _is_blocking(scheduler) else 0.0,
            )
        )
        return result

    def finish(
        self, scheduler: Scheduler, batch: ScheduleBatch, result: GenerationBatchResult
    ) -> None:
        """Note that a batch's result is about to be read; waits until it is there.

        Args:
            batch: as it was launched, or SGLang's copy of it.
            result: what `run` has returned for it.
        """
        step = next(
            (open_step for open_step in self._open if open_step.number == batch.forward_iter), None
        )
        if step is None:
            return
        if _is_blocking(scheduler):
            step.given_tokens = _given_tokens(result)
            return
        asked_s = time.monotonic()
        if result.copy_done is not None:
            # SGLang waits for the same event next.
            result.copy_done.synchronize()
        elif not _overlaps(scheduler):
            # A serial loop has no event; SGLang waits for the device when it reads the tokens.
            scheduler.device_module.synchronize()
        step.ended_s = time.monotonic()
        step.device_s = step.ended_s - asked_s
        step.given_tokens = _given_tokens(result)
        if _overlaps(scheduler):
            self._open.remove(step)
            if not step.after_pause and self._result_s is not None:
                step.launched_s = self._result_s
            self._result_s = step.ended_s
            self._close(step, step.ended_s)

    def _close(self, step: _OpenStep, until_s: float | None) -> None:
        """Write a step that took until then; None where the worker paused after it."""
        step_s = None if until_s is None else until_s - step.launched_s
        self._write(
            {
                "is_decode": step.shape.is_decode,
                "rows": step.shape.rows,
                "tokens": step.shape.tokens,
                "context_tokens": step.shape.context_tokens,
                "context_pairs": step.shape.context_pairs,
                "given_tokens": step.given_tokens,
                "started_s": step.launched_s,
                "forward_s": step.ended_s - step.launched_s,
                "step_s": step_s,
                "host_s": None if step_s is None else max(0.0, step_s - step.device_s),
            }
        )

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


def _is_blocking(scheduler: Scheduler) -> bool:
    """Whether a forward returns only when it is computed."""
    return bool(scheduler.device == "cpu")


def _overlaps(scheduler: Scheduler) -> bool:
    """Whether a step is launched before the one before it has ended."""
    return bool(scheduler.enable_overlap) and not _is_blocking(scheduler)


def _header(scheduler: Scheduler, worker_id: str) -> dict[str, Any]:
    """What the worker holds and admits, as its scheduler has settled it, and on which device."""
    return {
        "worker": worker_id,
        "device": _device_name(scheduler.device),
        "kv_tokens": scheduler.max_total_num_tokens,
        "vocabulary": scheduler.model_config.vocab_size,
        "context_tokens": scheduler.model_config.context_len,
        "max_running_requests": scheduler.max_running_requests,
        "chunked_prefill_tokens": scheduler.chunked_prefill_size,
        "max_prefill_tokens": scheduler.max_prefill_tokens,
        "new_token_ratio": scheduler.new_token_ratio_tracker.init,
        "is_blocking": _is_blocking(scheduler),
        "draft_rows": _draft_rows(scheduler),
    }


def _given_tokens(result: GenerationBatchResult) -> int | None:
    """Tokens that a speculative step gave its requests; None of any other step."""
    return None if result.accept_lens is None else int(result.accept_lens.sum())


def _draft_rows(scheduler: Scheduler) -> int:
    """Rows of a request in a decoding step."""
    if scheduler.spec_algorithm.is_none():
        return 1
    from sglang.srt.runtime_context import get_spec

    rows: int = get_spec().speculative_num_draft_tokens
    return rows


def _device_name(device: str) -> str:
    """The name of the accelerator that this process has; the kind where the platform knows none."""
    if device == "cpu":
        return device
    # The command that reads the log needs neither.
    import torch
    from sglang.srt.platforms import current_platform

    number = torch.get_device_module(device).current_device()
    try:
        return str(current_platform.get_device_name(number))
    except NotImplementedError:
        return device
