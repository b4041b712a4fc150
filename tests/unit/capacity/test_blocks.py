"""Workers that share a device move as one."""

import itertools

import pytest

from cascadia_sglang.capacity.blocks import Blocks, blocks_of, folded, unfolded
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import devices_of
from cascadia_sglang.capacity.move_steps import Drain, Start, Stop
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.config.settings import CascadeConfig, PlannerConfig
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.controller.fakes import Router, Workers, applied

NODE = Node(gpu="cuda", devices=4)


def at(pool: str, device: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cuda", tp_size=tp_size, node=0, base_gpu_id=device)


class Sharing(Workers):
    """`small` and `middle` on one device, `large` on one of its own."""

    cluster = Cluster(nodes=(NODE,))

    def __init__(self) -> None:
        super().__init__()
        self.present = [at("small", 0), at("middle", 0), at("large", 1)]
        self.blocks = blocks_of(self.present, NODE)

    def pool_of(self, tier_index: int) -> str:
        return ("small", "middle", "large")[tier_index]


class Three(Router):
    def __init__(self) -> None:
        super().__init__()
        self.thresholds = [0.5, 0.5]


def cascade(budget: int | None = None) -> CascadeConfig:
    made = make_cascade("small", "middle", "large")
    return CascadeConfig(
        version=1, tiers=made.tiers, routing=made.routing, planner=PlannerConfig(gpu_budget=budget)
    )


def mover(workers: Workers, budget: int | None = None) -> Mover:
    return Mover(workers, Three(), cascade(budget), Metrics(()))


def test_pools_whose_workers_lie_together_are_a_block() -> None:
    assert blocks_of([at("b", 0), at("a", 0), at("c", 1)], NODE) == Blocks(groups=(("a", "b"),))
    twice = [at("a", 0), at("b", 0), at("a", 3), at("b", 3)]
    assert blocks_of(twice, NODE) == Blocks(groups=(("a", "b"),))
    assert blocks_of([at("a", 0), at("b", 1)], NODE) == Blocks()


@pytest.mark.parametrize(
    "replicas",
    [
        [at("a", 0), at("wide", 0, tp_size=2)],
        [at("a", 0), at("wide", 0), at("a", 1)],
        [at("a", 0), at("wide", 0), at("a", 1), at("other", 1)],
    ],
)
def test_what_shares_otherwise_stays_as_it_is(replicas: list[RunningReplica]) -> None:
    blocks = blocks_of(replicas, NODE)
    assert {"a", "wide"} <= blocks.fixed
    assert blocks.groups == ()


def test_folding_and_unfolding_are_inverse() -> None:
    replicas = (at("middle", 0), at("small", 0), at("large", 1), at("middle", 2), at("small", 2))
    blocks = blocks_of(replicas, NODE)
    units = folded(replicas, blocks)
    assert [(unit.pool, unit.base_gpu_id) for unit in units] == [
        ("middle|small", 0),
        ("large", 1),
        ("middle|small", 2),
    ]
    assert {replica for unit in units for replica in unfolded(unit)} == set(replicas)


async def test_a_block_is_started_and_stopped_whole() -> None:
    workers = Sharing()
    moves = mover(workers)
    await moves.move({"small": Capacity(replicas=2), "middle": Capacity(replicas=2)})
    assert workers.log == ["start middle", "start small"]
    devices = {
        pool: {r.base_gpu_id for r in workers.present if r.pool == pool}
        for pool in ("small", "middle")
    }
    assert devices["small"] == devices["middle"]
    assert len(devices["small"]) == 2
    workers.log.clear()
    await moves.move({"small": Capacity(replicas=1), "middle": Capacity(replicas=1)})
    assert sorted(workers.log) == ["drain middle", "drain small", "stop middle", "stop small"]
    assert blocks_of(workers.present, NODE) == workers.blocks


async def test_a_block_is_not_split() -> None:
    with pytest.raises(InfeasiblePlanError, match="middle and small share devices, so their repl"):
        await mover(Sharing()).move({"small": Capacity(replicas=2)})


async def test_a_block_takes_one_device_of_the_budget() -> None:
    moves = mover(Sharing(), budget=3)
    assert moves.running().gpus == 2
    await moves.move({"small": Capacity(replicas=2), "middle": Capacity(replicas=2)})
    assert moves.running().gpus == 3
    with pytest.raises(InfeasiblePlanError, match="4 devices are needed, there are 3"):
        await moves.move({"large": Capacity(replicas=2)})


async def test_what_is_left_of_a_block_is_made_whole_or_ended() -> None:
    workers = Sharing()
    workers.present.append(at("small", 2))
    moves = mover(workers)
    whole = RunningPlan(replicas=(*workers.present, at("middle", 2)), thresholds=(0.5, 0.5))
    assert moves.actions(whole) == [Start(replica=at("middle", 2))]
    before = RunningPlan(replicas=tuple(workers.present[:3]), thresholds=(0.5, 0.5))
    assert moves.actions(before) == [Drain(replica=at("small", 2)), Stop(replica=at("small", 2))]


async def test_fixed_pools_keep_their_number() -> None:
    workers = Sharing()
    workers.present = [at("small", 0), at("middle", 1), at("large", 0, tp_size=2)]
    workers.blocks = blocks_of(workers.present, NODE)
    with pytest.raises(InfeasiblePlanError, match="small shares devices as no other does"):
        await mover(workers).move({"small": Capacity(replicas=2)})


@pytest.mark.parametrize(("blocks", "large"), list(itertools.product((1, 2, 3), (1, 2, 3))))
def test_no_step_of_any_move_puts_others_on_a_blocks_device(blocks: int, large: int) -> None:
    workers = Sharing()
    moves = mover(workers)
    capacities = {
        "small": Capacity(replicas=blocks),
        "middle": Capacity(replicas=blocks),
        "large": Capacity(replicas=large),
    }
    if blocks + large > 4:
        with pytest.raises(InfeasiblePlanError):
            moves.target(capacities)
        return
    plan = moves.running()
    for action in moves.actions(moves.target(capacities)):
        plan = applied(plan, action)
        lies: dict[object, list[str]] = {}
        for replica in plan.replicas:
            for device in devices_of(replica, NODE.devices):
                lies.setdefault(device, []).append(replica.pool)
        for here in lies.values():
            assert here == ["large"] or ("large" not in here and len(set(here)) == len(here))
    assert plan.counts == {"small": blocks, "middle": blocks, "large": large}
