"""How long the workers of each pool take to start, as this server has measured it."""

import logging
from collections.abc import Iterable, Mapping
from enum import Enum

from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import Worker

logger = logging.getLogger(__name__)

# Of a pool none of whose workers has started yet.
FIRST_START_S = 10.0


class Way(Enum):
    """How a replica comes to serve."""

    COLD = "cold"
    STANDBY = "standby"
    WAKE = "wake"


class StartTimes:
    """Counts the starts of each pool and keeps the newest time of each way."""

    def __init__(self, pools: Iterable[str], metrics: Metrics) -> None:
        self._pools = tuple(pools)
        self._seconds: dict[tuple[str, Way], float] = {}
        self._metrics = metrics

    def count_earlier(self, ready: Iterable[Worker]) -> None:
        """Count the starts of workers that were ready before the metrics were opened."""
        for worker in ready:
            self._count(worker.handle.pool.name, worker.handle.phases)

    def started(self, worker: Worker) -> None:
        """Note a worker that has become ready from nothing."""
        pool, phases = worker.handle.pool.name, worker.handle.phases
        seconds = sum(phases.values())
        logger.info("worker %s is ready after %.1f s", worker.worker_id, seconds)
        self.note(pool, Way.COLD, seconds)
        self._count(pool, phases)

    def failed(self, worker: Worker) -> None:
        """Count a worker that did not become ready."""
        self._count(worker.handle.pool.name, None)

    def note(self, pool: str, way: Way, seconds: float) -> None:
        """Keep how long a replica of this pool took until it served."""
        self._seconds[pool, way] = seconds

    def expected_s(self, pool: str, way: Way) -> float:
        """Seconds until a replica serves; of a way that was not gone yet, those of a cold start."""
        cold_s = self._seconds.get((pool, Way.COLD), FIRST_START_S)
        return self._seconds.get((pool, way), cold_s)

    def cold_s(self) -> dict[str, float]:
        """Of every pool: seconds that a worker's start takes from nothing."""
        return {pool: self.expected_s(pool, Way.COLD) for pool in self._pools}

    def _count(self, pool: str, phases: Mapping[str, float] | None) -> None:
        self._metrics.worker_started(pool, phases)
