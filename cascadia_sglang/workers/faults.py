"""Counts the faults of every pool, and passes a pool's tiers over while it has too many."""

import asyncio
import logging
import time
from collections.abc import Callable

from cascadia_sglang.pool_specs import PoolSpec
from cascadia_sglang.workers.breaker import FIRST_DELAY_S, OPEN_S, Breaker
from cascadia_sglang.workers.ends import End
from cascadia_sglang.workers.pool import Worker, WorkerPool

logger = logging.getLogger(__name__)


class Faults:
    """One breaker a pool of workers."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._breakers: dict[int, Breaker] = {}

    def count(self, spec: PoolSpec, at: float | None = None, end: End = End.OUTSIDE) -> float:
        """Count a fault of a pool; the delay until a new start, in seconds.

        Args:
            at: in monotonic seconds, to forgive it by; None for now.
            end: a control call's fault is not the pool's.
        """
        if end is End.CONTROL_CALL:
            return FIRST_DELAY_S
        now = time.monotonic() if at is None else at
        breaker = self._breakers.setdefault(spec.index, Breaker())
        delay_s = breaker.fault(now)
        if breaker.is_open(now):
            self._pool.bypass(spec.tiers)
            asyncio.get_running_loop().call_later(OPEN_S + 0.1, self._show, spec)
        return delay_s

    def forgiving(self, worker: Worker, at: float, end: End) -> Callable[[], None] | None:
        """What makes a worker's own error at that time no fault, once it is called.

        Returns:
            None where it ended from outside, which no request explains.
        """
        if end is not End.OWN_ERROR:
            return None
        spec = worker.handle.pool

        def forgive() -> None:
            if spec.index in self._breakers:
                self._breakers[spec.index].forgive(at)
                self._show(spec)

        return forgive

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
