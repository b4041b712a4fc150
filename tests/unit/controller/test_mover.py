"""A plan is carried out as it was ordered, and undone where a worker does not start."""

import asyncio

import msgspec
import pytest

from cascadia_sglang.capacity.service_placement import capacity_of
from cascadia_sglang.capacity.types import Capacity, Reserve
from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, PlannerConfig, TierConfig
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError, WorkerError
from cascadia_sglang.metrics.counters import Metrics
from tests.unit.controller.fakes import Router, Workers


def make_mover(workers: Workers, budget: int | None = None) -> tuple[Mover, Router]:
    config = CascadeConfig(
        version=1,
        tiers=[TierConfig(name="small", model_path="a"), TierConfig(name="large", model_path="b")],
        routing=RoutingConfig(thresholds=[0.5]),
        planner=PlannerConfig(gpu_budget=budget),
    )
    router = Router()
    return Mover(workers, router, config, Metrics(())), router


TO_LARGE = {"small": Capacity(replicas=1), "large": Capacity(replicas=2)}


@pytest.mark.parametrize(
    ("budget", "order"),
    [
        (4, ["start large", "drain small", "stop small"]),
        (3, ["drain small", "stop small", "start large"]),
    ],
)
def test_the_steps_follow_one_another_and_thresholds_come_last(budget, order):
    workers = Workers()
    mover, router = make_mover(workers, budget)
    moved = asyncio.run(mover.move(TO_LARGE, [0.9]))
    assert workers.log == order
    assert capacity_of(mover.running()) == TO_LARGE
    assert router.thresholds == [0.9]
    assert [step.action.__struct_config__.tag for step in moved.steps][-1] == "thresholds"
    assert mover.number == 2


def test_its_places_are_kept_free_while_a_move_is_under_way():
    workers = Workers(fails=(2,))
    mover, _ = make_mover(workers)
    moved = asyncio.run(mover.move(TO_LARGE))
    assert workers.expected == [moved.plan.replicas, ()]
    with pytest.raises(WorkerError):
        asyncio.run(mover.move({"large": Capacity(replicas=3)}))
    assert workers.expected[-1] == ()


def test_a_move_takes_the_place_where_a_worker_is_prepared():
    workers = Workers()
    mover, _ = make_mover(workers)
    prepared = msgspec.structs.replace(workers.present[-1], base_gpu_id=6)
    assert prepared.pool == "large"
    workers.reserve = Reserve(prepared=(prepared,))
    moved = asyncio.run(mover.move(TO_LARGE))
    assert prepared in moved.plan.replicas


def test_what_was_done_is_undone_where_a_worker_does_not_start():
    workers = Workers(fails=(2,))
    mover, router = make_mover(workers, budget=8)
    before = set(workers.present)
    with pytest.raises(WorkerError):
        asyncio.run(mover.move({"large": Capacity(replicas=3)}, [0.9]))
    assert set(workers.present) == before
    assert workers.log == ["start large", "drain large", "stop large"]
    assert router.thresholds == [0.5]
    assert mover.number == 1


def test_a_worker_that_does_not_come_back_is_tried_again_in_the_background():
    workers = Workers(fails=(1, 2))
    mover, _ = make_mover(workers, budget=3)
    gone = workers.present[1]
    with pytest.raises(WorkerError):
        asyncio.run(mover.move(TO_LARGE))
    assert workers.recovered == [gone]


def test_moves_wait_for_one_another():
    workers = Workers()
    mover, _ = make_mover(workers)

    async def both() -> None:
        await asyncio.gather(mover.move(TO_LARGE), mover.move({"small": Capacity(replicas=2)}))

    asyncio.run(both())
    assert workers.log == ["start large", "drain small", "stop small", "start small"]


@pytest.mark.parametrize(
    ("capacities", "thresholds", "error"),
    [
        ({"large": Capacity(replicas=0)}, None, InfeasiblePlanError),
        ({"small": Capacity(replicas=9)}, None, InfeasiblePlanError),
        ({}, [0.5, 0.5], ConfigError),
    ],
    ids=["no-last-tier", "too-many", "thresholds"],
)
def test_a_plan_that_does_not_fit_changes_nothing(capacities, thresholds, error):
    workers = Workers()
    mover, _ = make_mover(workers)
    with pytest.raises(error):
        asyncio.run(mover.move(capacities, thresholds))
    assert workers.log == []


def test_a_pool_without_replicas_keeps_its_shape():
    mover, _ = make_mover(Workers())
    two_ranks = Capacity(replicas=1, tp_size=2)
    asyncio.run(mover.move({"small": two_ranks}))
    assert mover.capacity()["small"] == two_ranks
    none = msgspec.structs.replace(two_ranks, replicas=0)
    asyncio.run(mover.move({"small": none}))
    assert mover.running().counts == {"large": 1}
    assert mover.capacity() == {"small": none, "large": Capacity(replicas=1)}
