"""Places replicas on devices, so that as few running replicas as possible move. Pure.

A running replica of a wanted shape stays where it is. The others are placed one after the other,
the largest first, each in the fullest node that has room for it.

`place_freely` plans for a whole cluster. Where the free devices are so scattered that a new replica
finds no room, it moves as few running ones as possible.

`place_in_service` plans for a node that serves requests meanwhile. It moves nothing. It prefers
workers that are prepared, then devices that are free now: a replica there starts before another
one ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cascadia_sglang.capacity.devices import Device, Room, devices_of
from cascadia_sglang.capacity.types import (
    Capacity,
    GpuType,
    ReplicaGroup,
    Reserve,
    RunningPlan,
    RunningReplica,
)
from cascadia_sglang.errors import InfeasiblePlanError

# Choices of replicas to keep, and nodes tried for new ones, before everything is placed again.
MAX_CHOICES = 2_000
MAX_STEPS = 5_000
# More new replicas than this are placed one after the other without turning back.
MAX_DEPTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedGroup:
    """Where the replicas of a group lie.

    Attributes:
        staying: they run there already.
        started: further replicas.
        moved: they run elsewhere now.
    """

    staying: list[RunningReplica]
    started: list[RunningReplica]
    moved: list[RunningReplica]


def place_freely(
    running: Sequence[RunningReplica],
    groups: Sequence[ReplicaGroup],
    cluster: Sequence[GpuType],
) -> list[PlacedGroup]:
    """Places on a cluster, for each wanted group; running replicas may move.

    Raises:
        InfeasiblePlanError: if the replicas do not fit the nodes.
    """
    alike = [[replica for replica in running if group.matches(replica)] for group in groups]
    most = [
        min(len(running_of_group), group.replicas)
        for running_of_group, group in zip(alike, groups, strict=True)
    ]
    nothing: list[list[RunningReplica]] = [[] for _ in groups]
    for kept_by_group in itertools.chain(
        itertools.islice(_choices(alike, most), MAX_CHOICES), [nothing]
    ):
        new = _fit(cluster, groups, kept_by_group)
        if new is not None:
            return [
                _placed_group(group, limit, kept_of_group, new)
                for group, limit, kept_of_group in zip(groups, most, kept_by_group, strict=True)
            ]
    raise InfeasiblePlanError(
        "the replicas fit the number of GPUs but not the nodes: "
        + ", ".join(
            f"{group.replicas} of {group.replica_gpus} for {group.pool}" for group in groups
        )
    )


def place_in_service(
    current: RunningPlan,
    target: Mapping[str, Capacity],
    kind: GpuType,
    gpu_budget: int | None,
    reserve: Reserve = Reserve(),  # noqa: B008  immutable
) -> tuple[RunningReplica, ...]:
    """The replicas of a plan with this capacity on one node; none moves.

    The oldest of each pool stay. New ones go where a worker is prepared for them; then to devices
    that are free now; where there is none, to those of a replica that ends.

    Raises:
        InfeasiblePlanError: if they need more devices than the budget or the node has.
    """
    most = kind.gpus_per_node if gpu_budget is None else min(gpu_budget, kind.gpus_per_node)
    groups = [capacity.group(pool, kind.gpu) for pool, capacity in target.items()]
    staying_by_group = [
        [replica for replica in current.replicas if group.matches(replica)][: group.replicas]
        for group in groups
    ]
    staying = list(itertools.chain(*staying_by_group))
    missing = _missing(groups, staying_by_group)
    used = _devices(staying, kind)
    needed = len(used) + sum(group.replica_gpus for group in missing)
    if missing and needed > most:
        raise InfeasiblePlanError(f"{needed} devices are needed, there are {most}")
    ending = _devices([replica for replica in current.replicas if replica not in staying], kind)
    free = Room.of([kind]).without(used)
    new = list(_in_turn({kind.gpu: kind}, [free.without(ending), free], missing, reserve))
    if len(new) < len(missing):
        group = missing[len(new)]
        raise InfeasiblePlanError(
            f"no {group.replica_gpus} devices in a row for a worker of {group.pool}"
        )
    return (*staying, *new)


def free_place(
    pool: str, capacity: Capacity, kind: GpuType, occupied: Sequence[RunningReplica]
) -> RunningReplica | None:
    """Devices for one more worker beside those that are taken; None where it finds no room."""
    room = Room.of([kind]).without(_devices(occupied, kind))
    return next(room.places(capacity.group(pool, kind.gpu), kind), None)


def capacity_of(plan: RunningPlan) -> dict[str, Capacity]:
    """How many replicas every pool has that runs, in the shape of its first one."""
    counts = plan.counts
    first = {replica.pool: replica for replica in reversed(plan.replicas)}
    return {
        pool: Capacity(replicas=count, tp_size=first[pool].tp_size, pp_size=first[pool].pp_size)
        for pool, count in counts.items()
    }


def _in_turn(
    kinds: Mapping[str, GpuType],
    rooms: Sequence[Room],
    missing: Sequence[ReplicaGroup],
    reserve: Reserve = Reserve(),  # noqa: B008  immutable
) -> Iterator[RunningReplica]:
    """Give each missing replica its first place; ends at the first that finds none.

    Args:
        rooms: to look for a place in, the preferred one first.
        missing: the group of every replica to place.
    """
    for group in missing:
        kind = kinds[group.gpu]
        places = itertools.chain(
            _prepared_places(group, kind, rooms, reserve.prepared),
            _free_places(group, kind, rooms, reserve.held),
        )
        replica = next(places, None)
        if replica is None:
            return
        yield replica
        devices = devices_of(replica, kind)
        rooms = [room.without(devices) for room in rooms]


def _prepared_places(
    group: ReplicaGroup, kind: GpuType, rooms: Sequence[Room], prepared: Sequence[RunningReplica]
) -> Iterator[RunningReplica]:
    for room in rooms:
        for replica in prepared:
            if group.matches(replica) and room.holds(devices_of(replica, kind)):
                yield replica


def _free_places(
    group: ReplicaGroup, kind: GpuType, rooms: Sequence[Room], held: Sequence[RunningReplica]
) -> Iterator[RunningReplica]:
    devices = _devices(held, kind)
    for room in rooms:
        yield from room.without(devices).places(group, kind)


def _devices(replicas: Iterable[RunningReplica], kind: GpuType) -> set[Device]:
    return {device for replica in replicas for device in devices_of(replica, kind)}


def _missing(
    groups: Sequence[ReplicaGroup], kept_by_group: Sequence[list[RunningReplica]]
) -> list[ReplicaGroup]:
    """The group of every replica that is to be placed, the largest first."""
    missing = [
        group
        for group, kept_of_group in zip(groups, kept_by_group, strict=True)
        for _ in range(group.replicas - len(kept_of_group))
    ]
    # While the free devices still lie together.
    return sorted(missing, key=lambda group: -group.replica_gpus)


def _choices(
    alike: Sequence[list[RunningReplica]], most: Sequence[int]
) -> Iterator[list[list[RunningReplica]]]:
    """Which running replicas of every group to keep: first as many as can be, then fewer."""
    for moved in range(sum(most) + 1):
        for each in itertools.product(*(range(min(moved, limit) + 1) for limit in most)):
            if sum(each) == moved:
                choices = [
                    itertools.combinations(running, limit - fewer)
                    for running, limit, fewer in zip(alike, most, each, strict=True)
                ]
                for choice in itertools.product(*choices):
                    yield [list(group) for group in choice]


def _fit(
    cluster: Sequence[GpuType],
    groups: Sequence[ReplicaGroup],
    kept_by_group: Sequence[list[RunningReplica]],
) -> list[RunningReplica] | None:
    """Places for what is not kept; None where they do not fit."""
    kinds = {kind.gpu: kind for kind in cluster}
    room = Room.of(cluster).without(
        device
        for replica in itertools.chain(*kept_by_group)
        for device in devices_of(replica, kinds[replica.gpu])
    )
    missing = _missing(groups, kept_by_group)
    straight = list(_in_turn(kinds, [room], missing))
    if len(straight) == len(missing):
        return straight
    return (
        _search(kinds, room, missing, iter(range(MAX_STEPS))) if len(missing) <= MAX_DEPTH else None
    )


def _search(
    kinds: Mapping[str, GpuType],
    room: Room,
    missing: Sequence[ReplicaGroup],
    steps: Iterator[int],
) -> list[RunningReplica] | None:
    """Place the first of the missing wherever the rest then fit too."""
    if not missing:
        return []
    group, others = missing[0], missing[1:]
    kind = kinds[group.gpu]
    for replica in room.places(group, kind):
        if next(steps, None) is None:
            return None
        behind = _search(kinds, room.without(devices_of(replica, kind)), others, steps)
        if behind is not None:
            return [replica, *behind]
    return None


def _placed_group(
    group: ReplicaGroup,
    most: int,
    staying: list[RunningReplica],
    new: Sequence[RunningReplica],
) -> PlacedGroup:
    """Of a group's new places, those beyond what runs are starts and the others moves.

    Args:
        most: running replicas that could be kept.
    """
    placed = [replica for replica in new if group.matches(replica)]
    starts = group.replicas - most
    return PlacedGroup(staying=staying, started=placed[:starts], moved=placed[starts:])
