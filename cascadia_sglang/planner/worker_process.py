"""Worker processes for long computations, so that a server's loop is never blocked.

Each is a Python of its own, not a copy of the caller, whose threads and main module it need not
know. It reads jobs from stdin and ends with it, so none outlives its caller by more than a job.

    python -m cascadia_sglang.planner.worker_process
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from cascadia_sglang.errors import CascadiaError, PlanError, PlanTimeoutError

# Of all jobs of a `run` together.
LIMIT_S = 300.0
# To end after stdin was closed.
_END_S = 5.0


class WorkerProcesses:
    """A few worker processes; a context."""

    def __init__(self, count: int = 2, *, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name if __spec__ else __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            for _ in range(count)
        ]

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them, by force where they do not."""
        for process in self._processes:
            if process.stdin is not None and not process.stdin.closed:
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    # It ended before; there is nothing left to close.
                    process.poll()
        for process in self._processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def run(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[Any],
        on_done: Callable[[int], None] = lambda _: None,
    ) -> list[Any]:
        """Apply a module's function to every job, each process one at a time; in order.

        Args:
            on_done: hears how many jobs are done, from any thread.

        Raises:
            CascadiaError: the first job's that raised one.
            PlanTimeoutError: if they take longer than the limit.
            PlanError: if a process ends; what ended it is on stderr.
        """
        waiting: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        for job in enumerate(jobs):
            waiting.put(job)
        found: dict[int, Any] = {}
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            for process in self._processes:
                process.kill()

        timer = threading.Timer(self._limit_s, stop)
        timer.daemon = True
        timer.start()
        try:
            with ThreadPoolExecutor(len(self._processes)) as pool:
                list(
                    pool.map(
                        lambda process: _feed(process, function, waiting, found, on_done),
                        self._processes,
                    )
                )
        finally:
            timer.cancel()
        if is_late.is_set():
            raise PlanTimeoutError(f"simulations took longer than {self._limit_s:g} s")
        for index in sorted(found):
            if isinstance(found[index], Exception):
                raise found[index]
        if len(found) < len(jobs):
            raise PlanError("a worker process of the planner ended before its work was done")
        return [found[index] for index in range(len(jobs))]


def _feed(
    process: subprocess.Popen[bytes],
    function: Callable[[Any], Any],
    waiting: queue.SimpleQueue[tuple[int, Any]],
    found: dict[int, Any],
    on_done: Callable[[int], None],
) -> None:
    """Give a process one job after the other until none is left, or it is gone."""
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        return
    while not waiting.empty():
        try:
            index, job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            pickle.dump((function, job), stdin)
            stdin.flush()
            found[index] = pickle.load(stdout)
            on_done(len(found))
        except (OSError, EOFError, pickle.UnpicklingError):
            return


def main() -> None:
    """Work on jobs until stdin ends."""
    # What a job prints must not come between results.
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            function, job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result = function(job)
        except CascadiaError as error:
            result = error
        pickle.dump(result, results)
        results.flush()


if __name__ == "__main__":
    main()
