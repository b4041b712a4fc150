"""Counts the faults of every pool, and passes a pool's tiers over while it has too many."""

import asyncio
import time

from cascadia_sglang.workers.arguments import PoolSpec
from cascadia_sglang.workers.breaker import OPEN_S, Breaker
from cascadia_sglang.workers.pool import WorkerPool


class Faults:
    """One breaker a pool of workers."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._breakers: dict[int, Breaker] = {}

    def count(self, spec: PoolSpec) -> float:
        """Count a fault of a pool; the delay until a new start, in seconds."""
        breaker = self._breakers.setdefault(spec.index, Breaker())
        delay_s = breaker.fault(time.monotonic())
        if breaker.is_open(time.monotonic()):
            self._pool.bypass(spec.tiers)
            asyncio.get_running_loop().call_later(OPEN_S + 0.1, self._close, spec)
        return delay_s

    def _close(self, spec: PoolSpec) -> None:
        if not self._breakers[spec.index].is_open(time.monotonic()):
            self._pool.restore(spec.tiers)
