"""Every order of starts and stops keeps the rules after each step, and ends at the new plan."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.capacity import ordering
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.move_steps import Drain, SetThresholds, Start, Stop
from cascadia_sglang.capacity.ordering import order_steps
from cascadia_sglang.capacity.service_placement import capacity_of, place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.errors import InfeasibleMoveError, InfeasiblePlanError
from tests.unit.controller.fakes import applied

NODE = Node(gpu="cpu", devices=6)
CLUSTER = Cluster(nodes=(NODE,))
POOLS = ("small", "middle", "large")


def replica(pool: str, base: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cpu", tp_size=tp_size, node=0, base_gpu_id=base)


def running(*replicas: RunningReplica, thresholds: tuple[float, ...] = (0.5,)) -> RunningPlan:
    return RunningPlan(replicas=replicas, thresholds=thresholds)


def ids(replica: RunningReplica) -> set[int]:
    return set(range(replica.base_gpu_id, replica.base_gpu_id + replica.tp_size))


@st.composite
def plans(draw: st.DrawFn) -> RunningPlan:
    """Up to six replicas of one or two devices, side by side, with gaps."""
    device, replicas = draw(st.integers(0, 2)), []
    while device < NODE.devices:
        tp_size = draw(st.sampled_from([1, 1, 2]))
        if device + tp_size <= NODE.devices:
            replicas.append(replica(draw(st.sampled_from(POOLS)), device, tp_size))
        device += tp_size + draw(st.sampled_from([0, 0, 1, 2]))
    return running(*replicas, thresholds=(draw(st.sampled_from([0.2, 0.8])),))


def check(current: RunningPlan, target: RunningPlan, budget: int, actions: list) -> None:
    """Walk the actions with a bookkeeping of its own."""
    staying = set(current.replicas) & set(target.replicas)
    lasting = set(current.counts) & set(target.counts)
    held, accepting = set(current.replicas), set(current.replicas)
    thresholds = current.thresholds
    most = max(budget, sum(replica.tp_size for replica in held))
    for action in actions:
        if isinstance(action, SetThresholds):
            thresholds = action.thresholds
            continue
        assert action.replica not in staying
        if isinstance(action, Start):
            held.add(action.replica)
            # While it starts it holds its devices; it accepts once it is there.
            assert sum(replica.tp_size for replica in held) <= budget
            accepting.add(action.replica)
        elif isinstance(action, Drain):
            accepting.remove(action.replica)
        else:
            assert isinstance(action, Stop)
            assert action.replica not in accepting
            held.remove(action.replica)
        devices = [device for replica in held for device in ids(replica)]
        assert len(devices) == len(set(devices))
        assert len(devices) <= most
        assert lasting <= {replica.pool for replica in accepting}
    assert held == accepting == set(target.replicas)
    assert thresholds == target.thresholds


def has_order(current: RunningPlan, target: RunningPlan, budget: int) -> bool:
    """Brute force: whether any permutation of the starts and stops keeps the rules."""
    old, new = set(current.replicas), set(target.replicas)
    lasting = set(current.counts) & set(target.counts)
    for order in itertools.permutations((old | new) - (old & new)):
        held = set(old)
        for replica in order:
            if replica in new:
                free = all(ids(replica).isdisjoint(ids(other)) for other in held)
                held.add(replica)
                if not free or sum(other.tp_size for other in held) > budget:
                    break
            else:
                held.remove(replica)
                if not lasting <= {other.pool for other in held}:
                    break
        else:
            return True
    return False


@given(plans(), plans(), st.integers(1, 6))
def test_the_actions_turn_one_plan_into_the_other_by_the_rules(current, target, budget):
    try:
        actions = order_steps(current, target, CLUSTER, budget)
    except InfeasibleMoveError:
        if len(set(current.replicas) ^ set(target.replicas)) <= 6:
            assert not has_order(current, target, budget)
        return
    check(current, target, budget, actions)
    plan = current
    for action in actions:
        plan = applied(plan, action)
    assert set(plan.replicas) == set(target.replicas)
    assert plan.thresholds == target.thresholds


@given(
    plans(),
    st.dictionaries(st.sampled_from(POOLS), st.integers(1, 3), min_size=1),
    st.integers(1, 6),
)
def test_asked_for_by_number_what_runs_in_the_shape_stays(current, numbers, budget):
    capacities = {pool: Capacity(replicas=count) for pool, count in numbers.items()}
    try:
        target = place_in_service(current, capacities, CLUSTER, budget)
    except InfeasiblePlanError:
        assert sum(numbers.values()) > budget
        return
    devices = [device for replica in target for device in ids(replica)]
    assert len(devices) == len(set(devices))
    assert capacity_of(running(*target)) == capacities
    for pool, count in numbers.items():
        alike = {
            replica for replica in current.replicas if replica.pool == pool and replica.tp_size == 1
        }
        assert len(alike & set(target)) == min(len(alike), count)


def test_where_the_budget_allows_it_starts_before_it_stops():
    old = running(replica("small", 0), replica("small", 1), replica("large", 2))
    new = running(replica("small", 0), replica("large", 2), replica("large", 3))
    assert order_steps(old, new, CLUSTER, 4) == [
        Start(replica=replica("large", 3)),
        Drain(replica=replica("small", 1)),
        Stop(replica=replica("small", 1)),
    ]
    assert [type(action) for action in order_steps(old, new, CLUSTER, 3)] == [Drain, Stop, Start]


def test_the_next_one_drains_while_one_finishes_its_requests():
    old = running(*(replica("large", device) for device in range(3)), replica("small", 3))
    new = running(replica("large", 0), *(replica("small", device) for device in (1, 2, 3)))
    actions = order_steps(old, new, CLUSTER, 4)
    assert [type(action) for action in actions] == [Drain, Drain, Stop, Start, Stop, Start]
    check(old, new, 4, actions)
    # The last one that accepts is drained only when another is there.
    old = running(replica("large", 0), replica("large", 1))
    new = running(replica("large", 2), replica("large", 3))
    actions = order_steps(old, new, CLUSTER, 3)
    assert [type(action) for action in actions] == [Start, Drain, Drain, Stop, Start, Stop]
    check(old, new, 3, actions)


def test_a_start_that_would_block_the_way_comes_later():
    # The tier of one worker must start its larger one first; the other tier's would take its room.
    old = running(replica("large", 0), replica("small", 1))
    new = running(replica("small", 1), replica("small", 5), replica("large", 2, tp_size=2))
    actions = order_steps(old, new, CLUSTER, 4)
    assert actions[0] == Start(replica=replica("large", 2, tp_size=2))
    check(old, new, 4, actions)


def test_thresholds_change_once_the_capacity_is_there():
    old, new = running(replica("small", 0)), running(replica("small", 0), replica("small", 1))
    actions = order_steps(old, RunningPlan(replicas=new.replicas, thresholds=(0.9,)), CLUSTER, None)
    assert [type(action) for action in actions] == [Start, SetThresholds]
    assert order_steps(old, old, CLUSTER, 1) == []


def test_plans_that_were_read_are_ordered_like_those_that_were_made():
    """Their names and thresholds are equal, and other objects."""
    old = running(*(replica("large", device) for device in range(3)), replica("small", 3))
    new = running(replica("large", 0), *(replica("small", device) for device in (1, 2, 3)))
    read = [msgspec.json.decode(msgspec.json.encode(plan), type=RunningPlan) for plan in (old, new)]
    assert order_steps(*read, CLUSTER, 4) == order_steps(old, new, CLUSTER, 4)
    old = running(replica("large", 0), replica("large", 1))
    new = running(replica("large", 2), replica("large", 3))
    read = [msgspec.json.decode(msgspec.json.encode(plan), type=RunningPlan) for plan in (old, new)]
    assert order_steps(*read, CLUSTER, 2) == order_steps(old, new, CLUSTER, 2)
    assert order_steps(read[0], old, CLUSTER, 2) == []


def test_a_search_that_takes_too_long_is_given_up(monkeypatch):
    old = running(replica("small", 0), replica("small", 1), replica("large", 2))
    new = running(replica("small", 0), replica("large", 2), replica("large", 3))
    # A start and a stop, so two sets besides the first.
    monkeypatch.setattr(ordering, "MAX_STATES", 2)
    assert len(order_steps(old, new, CLUSTER, 4)) == 3
    monkeypatch.setattr(ordering, "MAX_STATES", 1)
    with pytest.raises(InfeasibleMoveError, match="was found among 1 tried"):
        order_steps(old, new, CLUSTER, 4)


def test_what_cannot_be_ordered_says_why():
    old = running(replica("small", 0), replica("large", 1))
    new = running(replica("small", 0), replica("large", 1, tp_size=2))
    with pytest.raises(InfeasibleMoveError, match="within 3 devices leaves each of large"):
        order_steps(old, new, CLUSTER, 3)


def test_a_plan_may_drop_a_tier():
    old = running(replica("small", 0), replica("large", 1))
    new = running(replica("large", 0), replica("large", 1))
    assert [type(action) for action in order_steps(old, new, CLUSTER, 2)] == [Drain, Stop, Start]


def test_more_than_the_devices_is_refused():
    with pytest.raises(InfeasiblePlanError, match="7 devices are needed, there are 6"):
        place_in_service(
            running(replica("small", 0)), {"small": Capacity(replicas=7)}, CLUSTER, None
        )


def test_without_a_budget_every_device_of_every_node_may_be_held():
    """Four devices on two nodes: neither number alone says how many there are."""
    nodes = tuple(msgspec.structs.replace(NODE, number=number, devices=2) for number in range(2))
    all_four = [
        RunningReplica(pool="small", gpu="cpu", tp_size=1, node=node, base_gpu_id=device)
        for node in range(2)
        for device in range(2)
    ]
    cluster = Cluster(nodes=nodes)
    actions = order_steps(running(*all_four[:3]), running(*all_four), cluster, None)
    assert actions == [Start(replica=all_four[3])]
