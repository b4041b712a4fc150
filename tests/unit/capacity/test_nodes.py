"""Places on nodes of different size, some of them away, against every place that there is."""

import itertools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.move_steps import Drain, Start, Stop
from cascadia_sglang.capacity.ordering import order_steps
from cascadia_sglang.capacity.service_placement import free_place, place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, Reserve, RunningPlan, RunningReplica
from cascadia_sglang.errors import InfeasibleMoveError, InfeasiblePlanError

Devices = frozenset[tuple[int, int]]
POOLS = ("a", "b", "c")
SHAPES = ((1, 1), (2, 1), (3, 1), (1, 2), (2, 2))


def cluster(*sizes: int, away: tuple[int, ...] = ()) -> Cluster:
    return Cluster(
        nodes=tuple(
            Node(
                gpu="cuda",
                number=number,
                name=f"n{number}",
                devices=size,
                is_local=number == 0,
                is_up=number not in away,
            )
            for number, size in enumerate(sizes)
        )
    )


def at(pool: str, node: int, base: int, tp: int = 1, pp: int = 1, step: int = 1) -> RunningReplica:
    return RunningReplica(
        pool=pool, gpu="cuda", node=node, base_gpu_id=base, tp_size=tp, pp_size=pp, gpu_id_step=step
    )


def plan(*replicas: RunningReplica) -> RunningPlan:
    return RunningPlan(replicas=replicas, thresholds=())


def every_place(tp: int, pp: int, nodes: Cluster) -> Iterator[Devices]:
    """Written anew: every progression in a node, and whole neighbours where no node is enough."""
    count = tp * pp
    sizes = {node.number: node.devices for node in nodes.nodes if node.is_up}
    for number, size in sizes.items():
        for base, step in itertools.product(range(size), range(1, size if pp == 1 else 2)):
            if size >= count and base + (count - 1) * step < size:
                yield frozenset((number, base + rank * step) for rank in range(count))
        if size == 1 == count:
            yield frozenset({(number, 0)})
        if tp <= size < count and count % size == 0:
            span = range(number, number + count // size)
            if all(sizes.get(other) == size for other in span):
                yield frozenset((other, device) for other in span for device in range(size))


def can_be_placed(shapes: list[tuple[int, int]], free: Devices, nodes: Cluster) -> bool:
    if not shapes:
        return True
    return any(
        place <= free and can_be_placed(shapes[1:], free - place, nodes)
        for place in set(every_place(*shapes[0], nodes))
    )


def lies(replica: RunningReplica, nodes: Cluster) -> Devices:
    return frozenset((node, device) for _, node, device in nodes.devices_of(replica))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Cluster, list[RunningReplica], dict[str, Capacity]]:
    """Up to three nodes, what runs or waits there, and the wanted capacity of three pools."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    everywhere = cluster(*sizes)
    shapes = {pool: draw(st.sampled_from(SHAPES)) for pool in POOLS}
    running: list[RunningReplica] = []
    for pool in draw(st.lists(st.sampled_from(POOLS), max_size=3)):
        tp, pp = shapes[pool]
        shape = Capacity(replicas=1, tp_size=tp, pp_size=pp)
        place = free_place(pool, shape, everywhere, running)
        if place is not None:
            running.append(place)
    away = draw(st.sets(st.integers(0, len(sizes) - 1), max_size=len(sizes) - 1))
    target = {
        pool: Capacity(replicas=draw(st.integers(0, 2)), tp_size=tp, pp_size=pp)
        for pool, (tp, pp) in shapes.items()
    }
    return cluster(*sizes, away=tuple(away)), running, target


@given(scenes())
def test_a_plan_is_found_wherever_there_is_one(scene) -> None:
    nodes, running, target = scene
    staying = [
        replica
        for pool, capacity in target.items()
        for replica in [r for r in running if r.pool == pool][: capacity.replicas]
    ]
    missing = [
        (capacity.tp_size, capacity.pp_size)
        for pool, capacity in target.items()
        for _ in range(capacity.replicas - sum(r.pool == pool for r in staying))
    ]
    up = {(n.number, device) for n in nodes.nodes if n.is_up for device in range(n.devices)}
    free = frozenset(up).difference(*(lies(replica, nodes) for replica in staying))
    try:
        placed = place_in_service(plan(*running), target, nodes, None)
    except InfeasiblePlanError:
        assert not can_be_placed(missing, free, nodes)
        return
    assert list(placed[: len(staying)]) == staying
    new = placed[len(staying) :]
    assert sorted((r.tp_size, r.pp_size) for r in new) == sorted(missing)
    taken = [device for replica in new for device in lies(replica, nodes)]
    assert len(set(taken)) == len(taken)
    assert free.issuperset(taken)
    for replica in new:
        assert lies(replica, nodes) in set(every_place(replica.tp_size, replica.pp_size, nodes))


@pytest.mark.parametrize(
    ("nodes", "shape", "fits"),
    [
        (cluster(8, 8), (2, 1), 8),
        (cluster(8, 8), (4, 1), 4),
        (cluster(8, 8), (8, 1), 2),
        (cluster(8, 8), (8, 2), 1),
        (cluster(8, 4), (2, 1), 6),
        (cluster(8, 4), (4, 1), 3),
        (cluster(8, 4), (8, 1), 1),
        (cluster(8, 4), (8, 2), 0),
        (cluster(8, 4, 4), (4, 2), 2),
        (cluster(8, 8, away=(1,)), (8, 2), 0),
        (cluster(8, 8, away=(0,)), (2, 2), 2),
    ],
)
def test_so_many_of_a_shape_fit_and_no_more(
    nodes: Cluster, shape: tuple[int, int], fits: int
) -> None:
    tp, pp = shape
    for replicas in range(1, fits + 1):
        capacity = {"a": Capacity(replicas=replicas, tp_size=tp, pp_size=pp)}
        assert len(place_in_service(plan(), capacity, nodes, None)) == replicas
    capacity = {"a": Capacity(replicas=fits + 1, tp_size=tp, pp_size=pp)}
    with pytest.raises(InfeasiblePlanError):
        place_in_service(plan(), capacity, nodes, None)


def test_a_stage_stays_within_a_node_and_the_next_has_the_next_node() -> None:
    (replica,) = place_in_service(
        plan(), {"a": Capacity(replicas=1, tp_size=2, pp_size=2)}, cluster(3, 2, 2), None
    )
    assert (replica.node, replica.base_gpu_id) == (1, 0)
    assert lies(replica, cluster(3, 2, 2)) == {(1, 0), (1, 1), (2, 0), (2, 1)}


def test_a_worker_that_fits_no_node_is_one_clear_line() -> None:
    nodes = cluster(2, 4, 8, away=(2,))
    with pytest.raises(InfeasiblePlanError) as refused:
        place_in_service(plan(), {"a": Capacity(replicas=1, tp_size=8)}, nodes, None)
    assert str(refused.value) == "a worker of a needs 8 devices: n0 has 2, n1 has 4"
    nothing = cluster(4, away=(0,))
    with pytest.raises(InfeasiblePlanError, match="needs 1 devices: no node is there"):
        place_in_service(plan(), {"a": Capacity(replicas=1)}, nothing, None)


def test_a_worker_keeps_off_nodes_whose_devices_are_too_small_for_it() -> None:
    small, large = (
        msgspec.structs.replace(node, memory_gib=memory)
        for node, memory in zip(cluster(2, 1).nodes, (24.0, 80.0), strict=True)
    )
    nodes = Cluster(nodes=(small, large), least_gib={"b": 70.0})
    placed = place_in_service(
        plan(), {"a": Capacity(replicas=1), "b": Capacity(replicas=1)}, nodes, None
    )
    assert {replica.pool: replica.node for replica in placed}["b"] == 1
    with pytest.raises(InfeasiblePlanError, match="no 1 devices in a row for a worker of b"):
        place_in_service(plan(), {"b": Capacity(replicas=2)}, nodes, None)
    wide = {"b": Capacity(replicas=1, tp_size=2)}
    with pytest.raises(InfeasiblePlanError) as refused:
        place_in_service(plan(), wide, nodes, None)
    needs = "a worker of b needs 2 devices of 70.0 GiB"
    assert str(refused.value) == f"{needs}: n0 has 2 of 24.0 GiB, n1 has 1 of 80.0 GiB"


def test_what_is_on_a_node_that_is_away_stays_there_and_counts_against_the_budget() -> None:
    nodes = cluster(2, 2, away=(1,))
    now = plan(at("a", 0, 0), at("a", 1, 0), at("b", 1, 1))
    same = {"a": Capacity(replicas=2), "b": Capacity(replicas=1)}
    assert place_in_service(now, same, nodes, None) == now.replicas
    more = same | {"a": Capacity(replicas=3)}
    assert place_in_service(now, more, nodes, 4)[-1] == at("a", 0, 1)
    with pytest.raises(InfeasiblePlanError, match="4 devices are needed, there are 3"):
        place_in_service(now, more, nodes, 3)
    most = same | {"a": Capacity(replicas=4)}
    with pytest.raises(InfeasiblePlanError, match="3 devices are needed, there are 2"):
        place_in_service(now, most, nodes, None)


def test_a_prepared_place_on_another_node_comes_first_and_what_is_held_last() -> None:
    nodes = cluster(4, 2)
    reserve = Reserve(prepared=(at("a", 1, 1),), held=(at("a", 1, 1), at("b", 1, 0)))
    two = {"a": Capacity(replicas=2)}
    assert place_in_service(plan(), two, nodes, None, reserve) == (at("a", 1, 1), at("a", 0, 0))


def test_a_replica_on_a_lost_node_stands_in_for_no_other() -> None:
    nodes = cluster(2, 2, away=(1,))
    now = plan(at("a", 0, 0), at("a", 1, 0), at("b", 0, 1))
    after = plan(at("a", 1, 0), at("b", 0, 1), at("b", 0, 0))
    # The one that runs is the last of its pool that accepts requests.
    with pytest.raises(InfeasibleMoveError):
        order_steps(now, after, nodes, None)
    assert order_steps(now, after, cluster(2, 2), None) == [
        Drain(replica=at("a", 0, 0)),
        Stop(replica=at("a", 0, 0)),
        Start(replica=at("b", 0, 0)),
    ]
    # What waits may be given up, whoever else is left.
    given_up = plan(at("a", 0, 0), at("b", 0, 1))
    assert order_steps(now, given_up, nodes, None) == [
        Drain(replica=at("a", 1, 0)),
        Stop(replica=at("a", 1, 0)),
    ]
