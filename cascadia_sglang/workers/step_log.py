"""A worker's record of its batch steps: what each held and how long it took.

A JSON line for the worker, then one for every step. Read by `cascadia_sglang.profiling.steps`.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cascadia_sglang.workers.batch_shape import BatchShape, shape_of

T = TypeVar("T")

# Folder that workers write to; set by `cascadia profile`.
STEP_LOG_FOLDER = "CASCADIA_STEP_LOG"


class StepLog:
    """Writes the steps of one worker, each once the next begins or the worker idles."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._worker_id = worker_id
        self._file = (folder / f"{worker_id}.jsonl").open("w", encoding="utf-8", buffering=1)
        self._open: tuple[BatchShape, float, float] | None = None
        self._has_header = False

    def run(self, scheduler: Any, batch: Any, forward: Callable[[], T]) -> T:
        """Run a batch and note it; `scheduler` is SGLang's."""
        if batch.forward_mode.is_idle():
            return forward()
        if not self._has_header:
            self._write(_limits(scheduler, self._worker_id))
            self._has_header = True
        # The scheduler notes whether it has found nothing to do since the last batch.
        idled = scheduler._sched_idled
        started = time.monotonic()
        self._close(started, idled)
        shape = shape_of(batch)
        result = forward()
        self._open = (shape, started, time.monotonic())
        return result

    def _close(self, next_started: float, idled: bool) -> None:
        """Write the step before: until the next one where the worker went straight on."""
        if self._open is None:
            return
        shape, started, ended = self._open
        self._write(
            {
                "is_decode": shape.is_decode,
                "rows": shape.rows,
                "tokens": shape.tokens,
                "context_tokens": shape.context_tokens,
                "context_pairs": shape.context_pairs,
                "started_s": started,
                "forward_s": ended - started,
                "step_s": None if idled else next_started - started,
            }
        )

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


def _limits(scheduler: Any, worker_id: str) -> dict[str, Any]:
    """What the worker holds and admits, as its scheduler has settled it."""
    return {
        "worker": worker_id,
        "kv_tokens": scheduler.max_total_num_tokens,
        "max_running_requests": scheduler.max_running_requests,
        "chunked_prefill_tokens": scheduler.chunked_prefill_size,
        "max_prefill_tokens": scheduler.max_prefill_tokens,
        "new_token_ratio": scheduler.new_token_ratio_tracker.init,
        "is_blocking": scheduler.device == "cpu",
    }
