"""Places that prefer workers which could serve at once, and leave the devices of standbys alone."""

from random import Random

import pytest

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.service_placement import free_place, place_in_service
from cascadia_sglang.capacity.types import (
    Capacity,
    Node,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.errors import InfeasiblePlanError

NODE = Cluster(nodes=(Node(gpu="cuda", devices=4),))


def make_replica(pool: str, device: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cuda", node=0, base_gpu_id=device, tp_size=tp_size)


def plan(*replicas: RunningReplica) -> RunningPlan:
    return RunningPlan(replicas=replicas, thresholds=())


def capacities(small: int, large: int) -> dict[str, Capacity]:
    return {"small": Capacity(replicas=small), "large": Capacity(replicas=large)}


NOW = plan(make_replica("small", 0), make_replica("small", 1), make_replica("large", 2))


def test_a_replica_goes_where_one_of_its_pool_sleeps_though_another_device_is_free():
    asleep = Reserve(prepared=(make_replica("large", 1),))
    assert place_in_service(NOW, capacities(1, 2), NODE, None) == (
        make_replica("small", 0),
        make_replica("large", 2),
        make_replica("large", 3),
    )
    assert place_in_service(NOW, capacities(1, 2), NODE, None, asleep)[-1] == make_replica(
        "large", 1
    )


def test_of_two_that_sleep_the_one_on_a_free_device_is_woken():
    asleep = Reserve(prepared=(make_replica("large", 1), make_replica("large", 3)))
    assert place_in_service(NOW, capacities(1, 2), NODE, None, asleep)[-1] == make_replica(
        "large", 3
    )


@pytest.mark.parametrize(
    "asleep",
    [make_replica("small", 3), make_replica("large", 2), make_replica("large", 3, tp_size=2)],
)
def test_one_of_another_pool_or_shape_or_on_a_device_in_use_stays_asleep(asleep):
    placed = place_in_service(NOW, capacities(2, 2), NODE, None, Reserve(prepared=(asleep,)))
    assert placed[-1] == make_replica("large", 3)


def test_a_standby_of_another_pool_keeps_its_device():
    held = Reserve(prepared=(make_replica("small", 3),), held=(make_replica("small", 3),))
    with pytest.raises(InfeasiblePlanError, match="no 1 devices in a row for a worker of large"):
        place_in_service(NOW, capacities(2, 2), NODE, None, held)
    # Its own pool has it.
    assert place_in_service(NOW, capacities(3, 1), NODE, None, held)[-1] == make_replica("small", 3)


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_shares_a_device_or_takes_one_that_is_held_by_others(seed):
    random = Random(seed)
    node = Cluster(nodes=(Node(gpu="cuda", devices=8),))

    def some(count: int, taken: list[RunningReplica]) -> list[RunningReplica]:
        chosen: list[RunningReplica] = []
        for _ in range(count):
            size = random.choice((1, 1, 2))
            shape = Capacity(replicas=1, tp_size=size)
            free = free_place(random.choice(("small", "large")), shape, node, [*taken, *chosen])
            if free is not None:
                chosen.append(free)
        return chosen

    current = some(4, [])
    standbys = some(2, current)
    asleep = some(3, standbys)
    reserve = Reserve(prepared=(*asleep, *standbys), held=tuple(standbys))
    shapes = {replica.pool: replica.tp_size for replica in current}
    targets = {
        pool: Capacity(replicas=random.randint(1, 3), tp_size=size) for pool, size in shapes.items()
    }
    try:
        target = place_in_service(plan(*current), targets, node, None, reserve)
    except InfeasiblePlanError:
        return
    devices = [device for replica in target for device in node.devices_of(replica)]
    assert len(devices) == len(set(devices))
    for replica in set(target) - set(current):
        mine = set(node.devices_of(replica))
        for standby in standbys:
            assert replica == standby or mine.isdisjoint(node.devices_of(standby))
    # Whoever is placed anew where nobody is prepared finds none of its own that is free.
    for replica in set(target) - set(current) - set(reserve.prepared):
        free_alike = [
            other
            for other in reserve.prepared
            if (other.pool, other.tp_size) == (replica.pool, replica.tp_size)
            and set(node.devices_of(other)).isdisjoint(devices)
        ]
        assert free_alike == []
