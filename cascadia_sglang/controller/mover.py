"""Carries a plan out, step by step, while requests run. Every change of capacity goes this way."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from cascadia_sglang.capacity.blocks import Blocks, order_block_steps, place_blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.displaced import way_back
from cascadia_sglang.capacity.move_steps import Action, Drain, SetThresholds, Start, Stop
from cascadia_sglang.capacity.service_placement import capacity_of
from cascadia_sglang.capacity.types import (
    Capacity,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.config.cascade_file import with_thresholds
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.move_price import MovePrice, price_move
from cascadia_sglang.errors import InfeasiblePlanError, PlanError, WorkerError
from cascadia_sglang.metrics.counters import Metrics

logger = logging.getLogger(__name__)

# A drained worker's requests have this long; then they run again elsewhere.
DRAIN_S = 30.0


class StandbyReserves(Protocol):
    """Workers that could serve at once, and how long other starts take."""

    def shown(self) -> Reserve:
        """Where they are."""
        ...

    def expect(self, replicas: Sequence[RunningReplica]) -> None:
        """Keep the places of this plan free for its replicas; of none once a move has ended."""
        ...

    def expected_s(self, replica: RunningReplica) -> float:
        """Seconds until a replica is likely to serve, as things are now."""
        ...

    def cold_s(self) -> dict[str, float]:
        """Of every pool: seconds that a worker's start takes from nothing."""
        ...


class Workers(Protocol):
    """What runs the replicas."""

    @property
    def cluster(self) -> Cluster:
        """The nodes that there are."""
        ...

    @property
    def blocks(self) -> Blocks:
        """Which pools' workers share devices."""
        ...

    @property
    def reserves(self) -> StandbyReserves:
        """What could serve at once."""
        ...

    def pool_of(self, tier_index: int) -> str:
        """The name of the pool whose replicas serve a tier."""
        ...

    def replicas(self) -> tuple[RunningReplica, ...]:
        """What runs, or is on its way to; the oldest first."""
        ...

    async def start(self, replica: RunningReplica) -> None:
        """Start one; returns once it accepts requests. Raises WorkerError if it does not."""
        ...

    def drain(self, replica: RunningReplica) -> None:
        """Give it no further requests."""
        ...

    async def stop_replica(self, replica: RunningReplica, drain_s: float) -> None:
        """End it once its requests are done, or this time has passed."""
        ...

    def recover(self, replica: RunningReplica) -> None:
        """Start one in the background, again and again until it is there; elsewhere where its node
        is away."""
        ...


class ThresholdWriter(Protocol):
    """Whoever accepts answers by thresholds."""

    @property
    def thresholds(self) -> list[float]: ...

    def set_thresholds(self, thresholds: list[float]) -> None:
        """Raises ConfigError if they do not fit the tiers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStep:
    """An action that was carried out, and the seconds it took."""

    action: Action
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveResult:
    """A plan that was carried out: its steps, and the time of all of them."""

    plan: RunningPlan
    steps: tuple[MoveStep, ...]
    seconds: float


class Mover:
    """Changes what runs, one plan after the other. Owns the number of the plan in force."""

    def __init__(
        self,
        workers: Workers,
        thresholds: ThresholdWriter,
        config: CascadeConfig,
        metrics: Metrics,
        drain_s: float = DRAIN_S,
    ) -> None:
        self.gpu_budget = config.planner.gpu_budget
        self.number = 1
        self.last: MoveResult | None = None
        self._workers = workers
        self._thresholds = thresholds
        self._config = config
        self._metrics = metrics
        self._drain_s = drain_s
        self._lock = asyncio.Lock()
        self._capacity: dict[str, Capacity] = {}

    @property
    def is_moving(self) -> bool:
        return self._lock.locked()

    @property
    def cluster(self) -> Cluster:
        """The nodes that there are."""
        return self._workers.cluster

    @property
    def blocks(self) -> Blocks:
        """Which pools' workers share devices."""
        return self._workers.blocks

    def running(self) -> RunningPlan:
        """The plan in force."""
        return RunningPlan(
            replicas=self._workers.replicas(), thresholds=tuple(self._thresholds.thresholds)
        )

    def capacity(self) -> dict[str, Capacity]:
        """What every pool has; of one without replicas the shape that it had last."""
        earlier = {
            pool: msgspec.structs.replace(shape, replicas=0)
            for pool, shape in self._capacity.items()
        }
        self._capacity = {**earlier, **capacity_of(self.running())}
        return dict(self._capacity)

    def target(
        self, changes: Mapping[str, Capacity], thresholds: Sequence[float] | None = None
    ) -> RunningPlan:
        """The plan with this capacity, placed so that little moves; pools not named stay.

        Raises:
            InfeasiblePlanError: if the budget or the devices do not allow it, or nothing is left
                of the last tier, which answers what no other may.
            ConfigError: for thresholds that do not fit the tiers.
        """
        current = self.running()
        capacity = {**self.capacity(), **changes}
        last = self._workers.pool_of(len(self._config.tiers) - 1)
        if capacity.get(last, Capacity(replicas=0)).replicas < 1:
            raise InfeasiblePlanError(f"{last} has 0 replicas, the last tier needs 1 or more")
        chosen = current.thresholds if thresholds is None else tuple(thresholds)
        if thresholds is not None:
            with_thresholds(self._config, list(thresholds))
        replicas = place_blocks(
            current,
            capacity,
            self._workers.cluster,
            self.gpu_budget,
            self._workers.reserves.shown(),
            self._workers.blocks,
        )
        return RunningPlan(replicas=replicas, thresholds=chosen)

    def actions(self, target: RunningPlan) -> list[Action]:
        """What would turn the plan in force into this one.

        Raises:
            InfeasibleMoveError: if no order of them keeps the rules.
        """
        cluster, blocks = self._workers.cluster, self._workers.blocks
        return order_block_steps(self.running(), target, cluster, self.gpu_budget, blocks)

    def price(self, actions: Sequence[Action], stop_s: float) -> MovePrice:
        """What carrying these out takes, by the start times that are known of every pool."""
        expected_s = self._workers.reserves.expected_s
        return price_move(actions, self._workers.cluster, expected_s, stop_s)

    def cold_start_s(self) -> dict[str, float]:
        """Of every pool: seconds that a worker's start takes from nothing."""
        return self._workers.reserves.cold_s()

    async def move(
        self, changes: Mapping[str, Capacity], thresholds: Sequence[float] | None = None
    ) -> MoveResult:
        """Carry out the plan with this capacity, after any other that is under way.

        Where a worker does not start, what was done before is undone.

        Raises:
            PlanError: if the plan does not fit, or no order of steps leads to it.
            ConfigError: for thresholds that do not fit the tiers; nothing has changed then.
            WorkerError: if a worker did not start; the plan before is in force.
        """
        async with self._lock:
            before = self.running()
            target = self.target(changes, thresholds)
            actions = self.actions(target)
            started = time.monotonic()
            steps: list[MoveStep] = []
            self._workers.reserves.expect(target.replicas)
            try:
                for action in actions:
                    steps.append(await self._carry_out(action))
            except WorkerError as error:
                logger.error("a move is undone: %s", error)
                await self._undo(before)
                raise
            finally:
                self._workers.reserves.expect(())
            moved = MoveResult(
                plan=self.running(), steps=tuple(steps), seconds=time.monotonic() - started
            )
            if steps:
                self._done(moved)
            return moved

    def _done(self, moved: MoveResult) -> None:
        self.number += 1
        self.last = moved
        logger.info("plan %d is in force after %.2f s", self.number, moved.seconds)
        self._metrics.moved(moved.seconds)

    async def _carry_out(self, action: Action) -> MoveStep:
        started = time.monotonic()
        if isinstance(action, Start):
            await self._workers.start(action.replica)
        elif isinstance(action, Drain):
            self._workers.drain(action.replica)
        elif isinstance(action, Stop):
            await self._workers.stop_replica(action.replica, self._drain_s)
        elif isinstance(action, SetThresholds):
            self._thresholds.set_thresholds(list(action.thresholds))
        return MoveStep(action=action, seconds=time.monotonic() - started)

    async def _undo(self, before: RunningPlan) -> None:
        """Back to what ran; a worker that does not come back is tried again in the background."""
        back, lacking = way_back(before, self._workers.replicas(), self._workers.cluster)
        actions: list[Action] = []
        try:
            actions = self.actions(back)
        except PlanError as error:
            # Another worker was lost meanwhile, and comes back by itself.
            logger.error("no way back to the plan before: %s", error)
        for action in actions:
            try:
                await self._carry_out(action)
            except WorkerError as error:
                logger.error("%s", error)
                if isinstance(action, Start):
                    lacking.append(action.replica)
        for replica in lacking:
            self._workers.recover(replica)
