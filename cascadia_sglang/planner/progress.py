"""How long a plan has taken and may still take, and the threads that work on it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Nothing is reported before so long, and nothing sooner after the last report.
REPORT_EVERY_S = 1.0

A = TypeVar("A")
B = TypeVar("B")
Report = Callable[[str], None]


class PlanProgress:
    """The time of one plan: its limit, the phase it is in, and reports of both.

    Args:
        limit_s: seconds from now on that the plan may take.
        report: takes a line on the phase and the time left; None for nobody.
    """

    def __init__(self, limit_s: float = math.inf, report: Report | None = None) -> None:
        self._begun_s = self._reported_s = time.monotonic()
        self._limit_s = limit_s
        self._report = report
        self._lock = threading.Lock()
        self._phase = ""
        self._phase_begun_s = self._begun_s
        self._done = self._total = 0

    @property
    def left_s(self) -> float:
        """Seconds until the limit; 0 after it."""
        return max(0.0, self._limit_s - (time.monotonic() - self._begun_s))

    @property
    def is_over(self) -> bool:
        """Whether the limit has come."""
        return self.left_s <= 0.0

    def begin(self, phase: str, total: int) -> None:
        """Begin a phase of so many jobs."""
        with self._lock:
            self._phase, self._done, self._total = phase, 0, total
            self._phase_begun_s = time.monotonic()

    def advance(self, jobs: int = 1) -> None:
        """So many jobs of the phase are done."""
        with self._lock:
            self._done += jobs
            now_s = time.monotonic()
            if self._report is None or now_s - self._reported_s < REPORT_EVERY_S:
                return
            self._reported_s = now_s
            self._report(self._line(now_s))

    def _line(self, now_s: float) -> str:
        passed_s = now_s - self._phase_begun_s
        rest_s = passed_s / max(1, self._done) * max(0, self._total - self._done)
        return (
            f"{self._phase}: {self._done} of {self._total}, "
            f"about {min(rest_s, self.left_s):.1f} s left of this phase"
        )


class JobRunner:
    """Runs jobs in a few threads; compiled simulations run side by side.

    Args:
        threads: 0 or 1 runs them one after the other in the caller's thread.
    """

    def __init__(self, threads: int = 0, progress: PlanProgress | None = None) -> None:
        self.threads = threads
        self.progress = PlanProgress() if progress is None else progress

    def run(
        self, function: Callable[[A], B], jobs: Sequence[A], *, is_needed: bool = False
    ) -> list[B | None]:
        """Apply a function to every job of the phase, in order.

        Args:
            is_needed: whether the jobs are run however little time is left.

        Returns:
            A result per job; None for those that had not begun when the time was over.
        """

        def run_job(job: A) -> B | None:
            if self.progress.is_over and not is_needed:
                return None
            result = function(job)
            self.progress.advance()
            return result

        if self.threads < 2 or len(jobs) < 2:
            return [run_job(job) for job in jobs]
        with ThreadPoolExecutor(min(self.threads, len(jobs))) as pool:
            return list(pool.map(run_job, jobs))
