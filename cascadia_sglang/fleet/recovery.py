"""Faults of workers, and the way back: when a pool is tried again, and which replicas return.

A worker that is lost is started again after a delay. A pool whose workers fail too often is passed
over for a while.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_ends import WorkerEnd

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 30.0
WINDOW_S = 60.0
FAULTS_TO_TRIP = 5
OPEN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWorker:
    """A worker that is gone, and why."""

    worker_id: str
    why: str
    end: WorkerEnd


class Breaker:
    """Counts the faults of one pool. Times are of one monotonic clock, in seconds.

    A fault is a worker that died, hung, could not start, or answered with an internal error.
    What the client did wrong and back-pressure (429, 503) are not told to it. Five faults within a
    minute open it; half a minute later it is on trial for a minute, in which one fault opens it
    again. An answer of a worker that came back closes it and ends the trial.
    """

    def __init__(self) -> None:
        self._faults: deque[float] = deque()
        self._streak = 0
        self._opened: float | None = None

    def fault(self, now: float) -> float:
        """Count a fault; the delay after which a lost worker is started again."""
        if self._faults and now - self._faults[-1] > WINDOW_S:
            self._streak = 0
        self._streak += 1
        self._faults.append(now)
        while now - self._faults[0] > WINDOW_S:
            self._faults.popleft()
        if len(self._faults) >= FAULTS_TO_TRIP or self._is_on_trial(now):
            self._opened = now
        # Beyond ten doublings the longest delay holds anyway.
        delay_s = FIRST_DELAY_S * 2.0 ** min(self._streak - 1, 10)
        return min(LONGEST_DELAY_S, delay_s)

    def answered(self, started: float) -> None:
        """Note an answer of a worker that was started then."""
        if self._opened is not None and self._faults and started > self._faults[-1]:
            self._opened = None
            self._faults.clear()
            self._streak = 0

    def forgive(self, at: float) -> None:
        """Count the fault of that time no longer."""
        if at not in self._faults:
            return
        self._faults.remove(at)
        self._streak = max(0, self._streak - 1)
        if self._opened is not None and at <= self._opened and len(self._faults) < FAULTS_TO_TRIP:
            self._opened = None

    def is_open(self, now: float) -> bool:
        """Whether the pool is to be passed over."""
        return self._opened is not None and now - self._opened < OPEN_S

    def _is_on_trial(self, now: float) -> bool:
        return self._opened is not None and now - self._opened < OPEN_S + WINDOW_S


class Faults:
    """One breaker a pool of workers."""

    def __init__(self, pool: WritablePool) -> None:
        self._pool = pool
        self._breakers: dict[int, Breaker] = {}

    def count(
        self, spec: PoolSpec, at: float | None = None, end: WorkerEnd = WorkerEnd.OUTSIDE
    ) -> float:
        """Count a fault of a pool; the delay until a new start, in seconds.

        Args:
            at: in monotonic seconds, to forgive it by; None for now.
            end: a control call's fault is not the pool's, nor is a lost node's.
        """
        if end in (WorkerEnd.CONTROL_CALL, WorkerEnd.LOST_NODE):
            return FIRST_DELAY_S
        now = time.monotonic() if at is None else at
        breaker = self._breakers.setdefault(spec.index, Breaker())
        delay_s = breaker.fault(now)
        if breaker.is_open(now):
            self._pool.bypass(spec.tiers)
            asyncio.get_running_loop().call_later(OPEN_S + 0.1, self._show, spec)
        return delay_s

    def forgiving(self, worker: Worker, at: float, end: WorkerEnd) -> Callable[[], None] | None:
        """What makes a worker's own error at that time no fault, once it is called.

        Returns:
            None where it ended from outside, which no request explains.
        """
        if end is not WorkerEnd.OWN_ERROR:
            return None
        return functools.partial(self.forgive, worker.handle.pool, at)

    def forgive(self, spec: PoolSpec, at: float) -> None:
        """Count a pool's fault of that time no longer: the cause is known, and was another."""
        if spec.index in self._breakers:
            self._breakers[spec.index].forgive(at)
            self._show(spec)

    def failed(self, worker: Worker, error: Exception) -> None:
        """Count a living worker's answer with an internal error."""
        logger.error("worker %s answered with an internal error: %s", worker.worker_id, error)
        self.count(worker.handle.pool)

    def answered(self, worker: Worker) -> None:
        """Note that a worker answered."""
        spec = worker.handle.pool
        breaker = self._breakers.get(spec.index)
        if breaker is not None:
            breaker.answered(worker.handle.started)
            self._show(spec)

    def _show(self, spec: PoolSpec) -> None:
        """Let a pool's tiers be served again once its breaker is closed."""
        is_open = self._breakers[spec.index].is_open(time.monotonic())
        if not is_open and not self._pool.bypassed.isdisjoint(spec.tiers):
            self._pool.restore(spec.tiers)


class Recoveries:
    """One task a replica; a later one takes the place of an earlier.

    Args:
        ended: called when a task has ended and its replica is no longer among these.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._tasks: dict[RunningReplica, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[RunningReplica]:
        return iter(self._tasks)

    def begin(self, replica: RunningReplica, work: Coroutine[None, None, None]) -> None:
        """Run this until the replica is there."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[replica] = task

        def forget(_: asyncio.Task[None]) -> None:
            # Another may be on its way by now.
            if self._tasks.get(replica) is task:
                del self._tasks[replica]
            self._ended()

        task.add_done_callback(forget)

    def cancel(self, replica: RunningReplica) -> None:
        """Bring this one back no more."""
        task = self._tasks.pop(replica, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """Bring none back any more."""
        for task in self._tasks.values():
            task.cancel()
