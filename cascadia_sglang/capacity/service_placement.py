"""Places replicas on nodes that serve requests meanwhile. Pure.

A running replica of a wanted shape stays where it is, and nothing moves. The others are placed one
after the other, the largest first, each in the fullest node that has room for it. They go where a
worker is prepared, then to devices that are free now: a replica there starts before another ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import Room
from cascadia_sglang.capacity.place_search import found_places, missing_groups
from cascadia_sglang.capacity.types import (
    Capacity,
    ReplicaGroup,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.errors import InfeasiblePlanError


def place_in_service(
    current: RunningPlan,
    target: Mapping[str, Capacity],
    cluster: Cluster,
    gpu_budget: int | None,
    reserve: Reserve = Reserve(),  # noqa: B008  immutable
) -> tuple[RunningReplica, ...]:
    """The replicas of a plan with this capacity on the nodes that are up; none moves.

    What the plan in force has on a node that is away stays there, and returns with it. The oldest
    of each pool stay. New ones go where a worker is prepared for them; then to devices that are
    free now; where there is none, to those of a replica that ends.

    Raises:
        InfeasiblePlanError: if they need more devices than the budget or the nodes have, or a
            worker fits no node.
    """
    groups = [capacity.group(pool, cluster.gpu) for pool, capacity in target.items()]
    staying_by_group = [
        [replica for replica in current.replicas if group.matches(replica)][: group.replicas]
        for group in groups
    ]
    staying = list(itertools.chain(*staying_by_group))
    missing = missing_groups(groups, staying_by_group)
    for group in missing:
        check_fits(group, cluster)
    if missing:
        _check_count(staying, missing, cluster, gpu_budget)
    ending = [replica for replica in current.replicas if replica not in staying]
    free = cluster.room().without(staying)
    rooms = [free.without(ending), free]

    def places(group: ReplicaGroup, rooms: Sequence[Room]) -> Iterator[RunningReplica]:
        return _service_places(group, _rooms_of(group, rooms, cluster), reserve)

    new = found_places(rooms, missing, places)
    if len(new) < len(missing):
        group = missing[len(new)]
        raise InfeasiblePlanError(
            f"no {group.replica_gpus} devices in a row for a worker of {group.pool}"
        )
    return (*staying, *new)


def _check_count(
    staying: Sequence[RunningReplica],
    missing: Sequence[ReplicaGroup],
    cluster: Cluster,
    gpu_budget: int | None,
) -> None:
    """Raises InfeasiblePlanError where the budget or the devices are fewer than are needed.

    What stays on a node that is away counts against the budget alone.
    """
    new = sum(group.replica_gpus for group in missing)
    everywhere = {device for replica in staying for device in cluster.devices_of(replica)}
    up = [replica for replica in staying if cluster.is_up(replica)]
    there = {device for replica in up for device in cluster.devices_of(replica)}
    for needed, most in (
        (len(everywhere) + new, gpu_budget),
        (len(there) + new, cluster.devices),
    ):
        if most is not None and needed > most:
            raise InfeasiblePlanError(f"{needed} devices are needed, there are {most}")


def check_fits(group: ReplicaGroup, cluster: Cluster) -> None:
    """See whether a worker of a group would find a place if all nodes that are up were empty.

    Raises:
        InfeasiblePlanError: if it would not; says what there is.
    """
    if next(_rooms_of(group, [cluster.room()], cluster)[0].places(group), None) is not None:
        return
    least = cluster.least_gib.get(group.pool)
    needs = "" if least is None else f" of {least:.1f} GiB"
    there = [
        f"{node.name} has {node.devices}"
        + ("" if node.memory_gib is None else f" of {node.memory_gib:.1f} GiB")
        for node in cluster.nodes
        if node.is_up
    ]
    raise InfeasiblePlanError(
        f"a worker of {group.pool} needs {group.replica_gpus} devices{needs}: "
        f"{', '.join(there) or 'no node is there'}"
    )


def free_place(
    pool: str, capacity: Capacity, cluster: Cluster, occupied: Sequence[RunningReplica]
) -> RunningReplica | None:
    """Devices for one more worker beside those that are taken; None where it finds no room."""
    group = capacity.group(pool, cluster.gpu)
    (room,) = _rooms_of(group, [cluster.room().without(occupied)], cluster)
    return next(room.places(group), None)


def capacity_of(plan: RunningPlan) -> dict[str, Capacity]:
    """How many replicas every pool has that runs, in the shape of its first one."""
    counts = plan.counts
    first = {replica.pool: replica for replica in reversed(plan.replicas)}
    return {
        pool: Capacity(replicas=count, tp_size=first[pool].tp_size, pp_size=first[pool].pp_size)
        for pool, count in counts.items()
    }


def _service_places(
    group: ReplicaGroup, rooms: Sequence[Room], reserve: Reserve
) -> Iterator[RunningReplica]:
    """Where one more may serve, the best first: prepared, then free, then anywhere in a node."""
    for room in rooms:
        for replica in reserve.prepared:
            if group.matches(replica) and room.holds(replica):
                yield replica
    for room in rooms:
        yield from room.without(reserve.held).places(group)
    for room in rooms:
        yield from room.without(reserve.held).further_places(group)


def _rooms_of(group: ReplicaGroup, rooms: Sequence[Room], cluster: Cluster) -> list[Room]:
    """The rooms without the nodes that lack memory for a worker of this group."""
    numbers = cluster.with_memory(group.pool)
    return [room.only(numbers) for room in rooms]
