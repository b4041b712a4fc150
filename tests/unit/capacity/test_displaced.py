"""Where replicas of a lost node go, and what a plan is worth once a node of it is gone."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.displaced import place_displaced, way_back
from cascadia_sglang.capacity.service_placement import free_place
from cascadia_sglang.capacity.types import Capacity, Reserve, RunningPlan, RunningReplica
from tests.unit.capacity.test_nodes import at, cluster, every_place, lies

NOTHING = Reserve()
APART = Blocks()


def places(
    displaced: list[RunningReplica],
    occupied: list[RunningReplica],
    nodes: Cluster,
    reserve: Reserve = NOTHING,
    blocks: Blocks = APART,
) -> dict[RunningReplica, RunningReplica]:
    return place_displaced(displaced, occupied, nodes, reserve, blocks)


def test_the_pool_that_serves_nowhere_else_comes_first_then_the_largest() -> None:
    nodes = cluster(4, 4, away=(1,))
    small, large, wide = at("small", 1, 0), at("large", 1, 1), at("wide", 1, 2, tp=2)
    elsewhere = [at("small", 0, 3)]
    assert places([small, large, wide], elsewhere, nodes) == {
        wide: at("wide", 0, 0, tp=2),
        large: at("large", 0, 2),
    }
    # Of two of a pool that serves nowhere, the second waits for others like any.
    second = at("wide", 1, 0, tp=2)
    assert set(places([second, wide, large], elsewhere, nodes)) == {second, large}


def test_a_replica_goes_where_one_is_prepared_and_leaves_the_standbys_of_others_alone() -> None:
    nodes = cluster(3, 2, away=(1,))
    reserve = Reserve(prepared=(at("a", 0, 2), at("b", 0, 1)), held=(at("a", 0, 2), at("b", 0, 1)))
    lost = [at("a", 1, 0), at("a", 1, 1)]
    assert list(places(lost, [], nodes, reserve).values()) == [at("a", 0, 2), at("a", 0, 0)]
    assert places([at("c", 1, 0)], [at("a", 0, 0)], nodes, reserve) == {}


def test_it_returns_to_its_own_place_once_the_node_is_back() -> None:
    lost = at("a", 1, 1)
    assert places([lost], [], cluster(2, 2)) == {lost: lost}
    # Unless somebody has taken it.
    assert places([lost], [at("b", 1, 1)], cluster(2, 2)) == {lost: at("a", 1, 0)}


def test_a_block_stays_together_and_workers_that_share_otherwise_wait_for_their_own_place() -> None:
    blocks = Blocks(groups=(("a", "b"),), fixed=frozenset({"odd"}))
    lost = [at("a", 1, 0), at("b", 1, 0), at("odd", 1, 1)]
    nodes = cluster(2, 2, away=(1,))
    assert places(lost, [at("c", 0, 0)], nodes, blocks=blocks) == {
        lost[0]: at("a", 0, 1),
        lost[1]: at("b", 0, 1),
    }
    # Of a block that only a part is wanted of, that part alone is placed.
    assert places(lost[1:2], [], nodes, blocks=blocks) == {lost[1]: at("b", 0, 0)}
    back = places(lost, [at("other", 1, 1)], cluster(2, 2), blocks=blocks)
    assert back[lost[2]] == lost[2]


def test_a_block_needs_the_memory_of_all_its_workers() -> None:
    nodes = cluster(1, 1, 1, away=(2,)).nodes
    sized = tuple(
        msgspec.structs.replace(node, memory_gib=memory)
        for node, memory in zip(nodes, (50.0, 80.0, 80.0), strict=True)
    )
    needs = Cluster(nodes=sized, least_gib={"a": 30.0, "b": 30.0})
    blocks = Blocks(groups=(("a", "b"),))
    lost = [at("a", 2, 0), at("b", 2, 0)]
    assert [place.node for place in places(lost, [], needs, blocks=blocks).values()] == [1, 1]


@st.composite
def losses(draw: st.DrawFn) -> tuple[list[RunningReplica], list[RunningReplica], Cluster]:
    """Up to three nodes of which some are lost: who lay there, and who lies on the others."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    everywhere = cluster(*sizes)
    running: list[RunningReplica] = []
    for pool in draw(st.lists(st.sampled_from(("a", "b", "c")), max_size=6)):
        tp, pp = {"a": (1, 1), "b": (2, 1), "c": (2, 2)}[pool]
        shape = Capacity(replicas=1, tp_size=tp, pp_size=pp)
        place = free_place(pool, shape, everywhere, running)
        if place is not None:
            running.append(place)
    away = draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1, max_size=len(sizes) - 1))
    nodes = cluster(*sizes, away=tuple(away))
    displaced = [replica for replica in running if not nodes.is_up(replica)]
    return displaced, [replica for replica in running if nodes.is_up(replica)], nodes


@given(losses())
def test_nobody_waits_for_whom_there_is_a_place(scene) -> None:
    displaced, occupied, nodes = scene
    placed = places(displaced, occupied, nodes)
    lie = [lies(replica, nodes) for replica in (*occupied, *placed.values())]
    taken = [device for devices in lie for device in devices]
    assert len(set(taken)) == len(taken)
    for before, after in placed.items():
        assert nodes.is_up(after)
        assert (after.pool, after.tp_size, after.pp_size) == (
            before.pool,
            before.tp_size,
            before.pp_size,
        )
    for replica in set(displaced) - set(placed):
        shapes = every_place(replica.tp_size, replica.pp_size, nodes)
        assert all(not devices.isdisjoint(taken) for devices in shapes)


def test_the_way_back_to_a_plan_leads_round_a_lost_node() -> None:
    nodes = cluster(4, 2, away=(1,))
    kept, moved, stopped = at("a", 0, 0), at("a", 1, 0), at("b", 1, 1)
    before = RunningPlan(replicas=(kept, moved, stopped), thresholds=(0.5,))
    substitute, begun = at("a", 0, 1), at("c", 0, 2)
    plan, lacking = way_back(before, [kept, substitute, begun], nodes)
    assert plan == RunningPlan(replicas=(kept, substitute), thresholds=(0.5,))
    assert lacking == [stopped]


def test_what_waits_for_its_node_is_still_of_the_plan() -> None:
    nodes = cluster(2, 2, away=(1,))
    before = RunningPlan(replicas=(at("a", 0, 0), at("b", 1, 0)), thresholds=())
    # One that is to be started on the lost node is no substitute.
    begun = at("b", 1, 1)
    assert way_back(before, [*before.replicas, begun], nodes) == (before, [])
    assert way_back(before, before.replicas[:1], cluster(2, 2)) == (before, [])
