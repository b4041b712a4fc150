"""Workers and a router that do as they are told."""

import asyncio
from collections.abc import Container, Sequence

import msgspec

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.move_steps import Action, SetThresholds, Start, Stop
from cascadia_sglang.capacity.service_placement import place_in_service
from cascadia_sglang.capacity.types import (
    Capacity,
    Node,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.errors import WorkerError

CLUSTER = Cluster(nodes=(Node(gpu="cpu", devices=8),))


class Router:
    def __init__(self) -> None:
        self.thresholds = [0.5]

    def set_thresholds(self, thresholds: list[float]) -> None:
        self.thresholds = thresholds


class Workers:
    """Workers that start as they are told; `fails` holds the numbers of starts that do not."""

    cluster = CLUSTER
    blocks = Blocks()

    def __init__(self, fails: Container[int] = ()) -> None:
        capacities = {"small": Capacity(replicas=2), "large": Capacity(replicas=1)}
        self.present = list(
            place_in_service(RunningPlan(replicas=(), thresholds=()), capacities, CLUSTER, None)
        )
        self.fails = fails
        self.starts = 0
        self.recovered: list[RunningReplica] = []
        self.log: list[str] = []
        self.reserve = Reserve()
        self.expected: list[tuple[RunningReplica, ...]] = []
        self.start_s = {"small": 2.0, "large": 10.0}

    def pool_of(self, tier_index: int) -> str:
        return ("small", "large")[tier_index]

    def replicas(self) -> tuple[RunningReplica, ...]:
        return tuple(self.present)

    async def start(self, replica: RunningReplica) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self.starts in self.fails:
            raise WorkerError("it did not start")
        self.log.append(f"start {replica.pool}")
        self.present.append(replica)

    def drain(self, replica: RunningReplica) -> None:
        self.log.append(f"drain {replica.pool}")
        self.present.remove(replica)

    async def stop_replica(self, replica: RunningReplica, drain_s: float) -> None:
        await asyncio.sleep(min(drain_s, 0.0))
        self.log.append(f"stop {replica.pool}")

    @property
    def reserves(self) -> "Reserves":
        return Reserves(self)

    def recover(self, replica: RunningReplica) -> None:
        self.recovered.append(replica)


class Reserves:
    """None are there; what a move expects is noted."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def shown(self) -> Reserve:
        return self._workers.reserve

    def expect(self, replicas: Sequence[RunningReplica]) -> None:
        self._workers.expected.append(tuple(replicas))

    def expected_s(self, replica: RunningReplica) -> float:
        return self._workers.start_s[replica.pool]

    def cold_s(self) -> dict[str, float]:
        return dict(self._workers.start_s)


def applied(plan: RunningPlan, action: Action) -> RunningPlan:
    """The plan after one more action; a drained replica holds its devices until it is stopped."""
    if isinstance(action, Start):
        return msgspec.structs.replace(plan, replicas=(*plan.replicas, action.replica))
    if isinstance(action, Stop):
        remaining = tuple(replica for replica in plan.replicas if replica != action.replica)
        return msgspec.structs.replace(plan, replicas=remaining)
    if isinstance(action, SetThresholds):
        return msgspec.structs.replace(plan, thresholds=action.thresholds)
    return plan
