"""Places that prefer workers which could serve at once, and leave the devices of standbys alone."""

from random import Random

import pytest

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.capacity_types import (
    Capacity,
    GpuType,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.planner.devices import devices_of
from cascadia_sglang.planner.replica_placement import free_place, place_in_service

NODE = GpuType(gpu="cuda", nodes=1, gpus_per_node=4)


def place(pool: str, device: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cuda", node=0, base_gpu_id=device, tp_size=tp_size)


def plan(*replicas: RunningReplica) -> RunningPlan:
    return RunningPlan(replicas=replicas, thresholds=())


def wanted(small: int, large: int) -> dict[str, Capacity]:
    return {"small": Capacity(replicas=small), "large": Capacity(replicas=large)}


NOW = plan(place("small", 0), place("small", 1), place("large", 2))


def test_a_replica_goes_where_one_of_its_pool_sleeps_though_another_device_is_free():
    asleep = Reserve(prepared=(place("large", 1),))
    assert place_in_service(NOW, wanted(1, 2), NODE, None) == (
        place("small", 0),
        place("large", 2),
        place("large", 3),
    )
    assert place_in_service(NOW, wanted(1, 2), NODE, None, asleep)[-1] == place("large", 1)


def test_of_two_that_sleep_the_one_on_a_free_device_is_woken():
    asleep = Reserve(prepared=(place("large", 1), place("large", 3)))
    assert place_in_service(NOW, wanted(1, 2), NODE, None, asleep)[-1] == place("large", 3)


@pytest.mark.parametrize(
    "asleep", [place("small", 3), place("large", 2), place("large", 3, tp_size=2)]
)
def test_one_of_another_pool_or_shape_or_on_a_device_in_use_stays_asleep(asleep):
    found = place_in_service(NOW, wanted(2, 2), NODE, None, Reserve(prepared=(asleep,)))
    assert found[-1] == place("large", 3)


def test_a_standby_of_another_pool_keeps_its_device():
    held = Reserve(prepared=(place("small", 3),), held=(place("small", 3),))
    with pytest.raises(InfeasiblePlanError, match="no 1 devices in a row for a worker of large"):
        place_in_service(NOW, wanted(2, 2), NODE, None, held)
    # Its own pool has it.
    assert place_in_service(NOW, wanted(3, 1), NODE, None, held)[-1] == place("small", 3)


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_shares_a_device_or_takes_one_that_is_held_by_others(seed):
    random = Random(seed)
    node = GpuType(gpu="cuda", nodes=1, gpus_per_node=8)

    def some(count: int, taken: list[RunningReplica]) -> list[RunningReplica]:
        found: list[RunningReplica] = []
        for _ in range(count):
            size = random.choice((1, 1, 2))
            shape = Capacity(replicas=1, tp_size=size)
            one = free_place(random.choice(("small", "large")), shape, node, [*taken, *found])
            if one is not None:
                found.append(one)
        return found

    current = some(4, [])
    standbys = some(2, current)
    asleep = some(3, standbys)
    reserve = Reserve(prepared=(*asleep, *standbys), held=tuple(standbys))
    shapes = {one.pool: one.tp_size for one in current}
    asked = {
        pool: Capacity(replicas=random.randint(1, 3), tp_size=size) for pool, size in shapes.items()
    }
    try:
        found = place_in_service(plan(*current), asked, node, None, reserve)
    except InfeasiblePlanError:
        return
    devices = [device for one in found for device in devices_of(one, node)]
    assert len(devices) == len(set(devices))
    for one in set(found) - set(current):
        mine = set(devices_of(one, node))
        for standby in standbys:
            assert one == standby or mine.isdisjoint(devices_of(standby, node))
    # Whoever is placed anew where nobody is prepared finds none of its own that is free.
    for one in set(found) - set(current) - set(reserve.prepared):
        left = [
            other
            for other in reserve.prepared
            if (other.pool, other.tp_size) == (one.pool, one.tp_size)
            and set(devices_of(other, node)).isdisjoint(devices)
        ]
        assert left == []
