"""Other places for replicas whose node was lost. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from cascadia_sglang.capacity.blocks import Blocks, folded, folded_need, unfolded
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.service_placement import free_place
from cascadia_sglang.capacity.types import Capacity, Reserve, RunningPlan, RunningReplica


def place_displaced(
    displaced: Sequence[RunningReplica],
    occupied: Sequence[RunningReplica],
    cluster: Cluster,
    reserve: Reserve,
    blocks: Blocks,
) -> dict[RunningReplica, RunningReplica]:
    """The new place of each replica that finds one on the nodes that are up; the others wait.

    Those whose own place is there again and free return to it. Of the others, a pool that serves
    nowhere else comes first, then the largest replica: where a worker of its pool is prepared, else
    where there is room. Workers of a block stay together, and those that share devices otherwise
    return to their own place alone.

    Args:
        occupied: replicas that run, start or are about to; not those in reserve.
    """
    cluster = msgspec.structs.replace(cluster, least_gib=folded_need(cluster.least_gib, blocks))
    taken = list(folded(occupied, blocks))
    serving = Counter(replica.pool for replica in taken if cluster.is_up(replica))
    places: dict[RunningReplica, RunningReplica] = {}
    left = list(folded(displaced, blocks))
    # First, for what waits is known by the place that it had: no other of its pool may be there.
    for unit in list(left):
        room = cluster.room().without([*taken, *reserve.held])
        if cluster.is_up(unit) and (unit.pool in blocks.fixed or room.holds(unit)):
            left.remove(unit)
            taken.append(unit)
            serving[unit.pool] += 1
            places[unit] = unit
    while left:
        unit = min(left, key=lambda unit: (serving[unit.pool] > 0, -unit.replica_gpus))
        left.remove(unit)
        target = None if unit.pool in blocks.fixed else _place(unit, taken, cluster, reserve)
        if target is not None:
            taken.append(target)
            serving[unit.pool] += 1
            places[unit] = target
    pairs = (
        pair
        for unit, target in places.items()
        for pair in zip(unfolded(unit), unfolded(target), strict=True)
    )
    return {before: after for before, after in pairs if before in displaced}


def _place(
    unit: RunningReplica, taken: Sequence[RunningReplica], cluster: Cluster, reserve: Reserve
) -> RunningReplica | None:
    shape = Capacity(replicas=1, tp_size=unit.tp_size, pp_size=unit.pp_size)
    group = shape.group(unit.pool, unit.gpu)
    room = cluster.room().without(taken)
    for prepared in reserve.prepared:
        if group.matches(prepared) and room.holds(prepared):
            return prepared
    return free_place(unit.pool, shape, cluster, [*taken, *reserve.held])


def way_back(
    before: RunningPlan, running: Sequence[RunningReplica], cluster: Cluster
) -> tuple[RunningPlan, list[RunningReplica]]:
    """A plan that was in force, as far as its nodes are still up, and what it lacks then.

    A replica that was lost with its node is lacking, unless another of its pool and shape runs that
    the plan did not have: that stays in its stead.
    """
    spare = [r for r in running if r not in before.replicas and cluster.is_up(r)]
    replicas, lacking = [], []
    for replica in before.replicas:
        if replica in running or cluster.is_up(replica):
            replicas.append(replica)
            continue
        shape = Capacity(replicas=1, tp_size=replica.tp_size, pp_size=replica.pp_size)
        group = shape.group(replica.pool, replica.gpu)
        substitute = next((other for other in spare if group.matches(other)), None)
        if substitute is None:
            lacking.append(replica)
        else:
            spare.remove(substitute)
            replicas.append(substitute)
    return msgspec.structs.replace(before, replicas=tuple(replicas)), lacking
