"""Keeps a row of the server's state per second, for a quarter of an hour."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cascadia_sglang.controller.decision import LogEntry
from cascadia_sglang.controller.mover import MoveResult
from cascadia_sglang.failure_counts import is_logged
from cascadia_sglang.fleet.recovery import LostWorker
from cascadia_sglang.page.history import EncodedRows
from cascadia_sglang.page.timeline import ServerState, Timeline
from cascadia_sglang.page.traffic_log import Flow, TrafficLog
from cascadia_sglang.pool.pool import Worker, WorkerPool
from cascadia_sglang.prefix.speed import PublishedLoad
from cascadia_sglang.router.cascade import CascadeRouter

logger = logging.getLogger(__name__)

ROWS = 900
INTERVAL_S = 1.0


class SampledFleet(Protocol):
    """Who knows why workers ended."""

    @property
    def losses(self) -> Sequence[LostWorker]: ...


class SampledMover(Protocol):
    """Who knows the plan."""

    @property
    def number(self) -> int: ...
    @property
    def last(self) -> MoveResult | None: ...


class SampledController(Protocol):
    """Who decides on moves."""

    @property
    def entries(self) -> Sequence[LogEntry]: ...


class Sampler:
    """Owns the rows and the timeline.

    Args:
        load_of: what a worker's scheduler published last; None where it has not.
        interval_s: time between two rows.
        wall, clock: seconds of the Unix and of the monotonic clock.
    """

    def __init__(
        self,
        log: TrafficLog,
        pool: WorkerPool,
        router: CascadeRouter,
        fleet: SampledFleet,
        mover: SampledMover,
        controller: SampledController | None,
        load_of: Callable[[Worker], PublishedLoad | None],
        interval_s: float = INTERVAL_S,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_s = interval_s
        self.rows = EncodedRows(ROWS)
        self.timeline = Timeline()
        self._log = log
        self._pool = pool
        self._router = router
        self._fleet = fleet
        self._mover = mover
        self._controller = controller
        self._load_of = load_of
        self._wall = wall
        self._clock = clock
        self._flows: Counter[Flow] = Counter()
        self._sampled_s = clock()
        self._failures = 0

    async def run(self) -> None:
        """Keep a row per interval. Runs until cancelled.

        The 1st, 10th, 100th ... row that fails is logged.
        """
        due_s = self._clock()
        while True:
            # What was missed while the loop was busy is not made up for.
            due_s = max(due_s + self.interval_s, self._clock())
            while (left_s := due_s - self._clock()) > 0.0:
                await asyncio.sleep(left_s)
            try:
                self.sample()
            except Exception:  # the server goes on, whatever a row runs into
                self._failures += 1
                if is_logged(self._failures):
                    logger.exception("the page lacks a row, failure %d", self._failures)

    def sample(self) -> None:
        """Keep one row, and note what happened since the last."""
        at, now_s = round(self._wall(), 3), self._clock()
        router, scores = self._router, self._router.services.scores
        tiers = router.config.tiers
        flows = self._log.flows
        self.rows.add(
            {
                "at": at,
                "seconds": round(now_s - self._sampled_s, 3),
                "flows": changed(self._flows, flows),
                "active": router.active_count,
                "gear": router.gear,
                "thresholds": [scores.threshold(index) for index in range(len(tiers) - 1)],
                "workers": {worker.worker_id: self._load(worker) for worker in self._pool},
            }
        )
        self._flows, self._sampled_s = flows.copy(), now_s
        self.update_timeline()

    def update_timeline(self) -> None:
        """Note in the timeline what happened since the last update."""
        router = self._router
        tiers = router.config.tiers
        self.timeline.add_changes(
            ServerState(
                at=round(self._wall(), 3),
                workers={worker.worker_id: worker.state.value for worker in self._pool},
                losses={
                    lost.worker_id: f"{lost.why} ({lost.end.value})" for lost in self._fleet.losses
                },
                bypassed=frozenset(tiers[index].name for index in self._pool.bypassed),
                thresholds=tuple(router.config.routing.thresholds),
                gear=router.gear,
                plan_number=self._mover.number,
                moved=self._mover.last,
                decisions=() if self._controller is None else self._controller.entries,
            )
        )

    def _load(self, worker: Worker) -> dict[str, Any]:
        """Attempts of a worker; of those what its scheduler runs and holds back, and its memory."""
        load = self._load_of(worker)
        attempts = len(worker.rids)
        if load is None:
            return {"attempts": attempts, "running": None, "queued": None, "kv": None}
        share = load.used_tokens / load.total_tokens if load.total_tokens else None
        return {
            "attempts": attempts,
            "running": load.running,
            "queued": load.waiting,
            "kv": None if share is None else round(share, 4),
        }


def changed(before: Mapping[Flow, int], now: Mapping[Flow, int]) -> dict[str, int]:
    """By how much each counter rose, those that did; a flow's labels are joined by `/`."""
    return {
        "/".join(flow): count - before.get(flow, 0)
        for flow, count in now.items()
        if count != before.get(flow, 0)
    }
