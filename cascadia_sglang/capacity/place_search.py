"""Finds a place for each of several replicas, where there is one for all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cascadia_sglang.capacity.devices import Room
from cascadia_sglang.capacity.types import ReplicaGroup, RunningReplica

# Nodes tried for new replicas before they are given up.
MAX_STEPS = 5_000
# More new replicas than this are placed one after the other without turning back.
MAX_DEPTH = 200

# Where one replica of a group may lie in some rooms, the best place first.
Places = Callable[[ReplicaGroup, Sequence[Room]], Iterator[RunningReplica]]


def missing_groups(
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


def found_places(
    rooms: Sequence[Room], missing: Sequence[ReplicaGroup], places: Places
) -> list[RunningReplica]:
    """A place for every replica; each has its first one where that leads to all.

    Args:
        rooms: to look for a place in, the preferred one first.
        missing: the group of every replica to place.
        places: of one replica of a group in these rooms.

    Returns:
        Places of the first few where not all find one, or none was found within `MAX_STEPS`.
    """
    first = list(_in_turn(rooms, missing, places))
    if len(first) == len(missing) or len(missing) > MAX_DEPTH:
        return first
    return _search(rooms, missing, places, iter(range(MAX_STEPS))) or first


def _in_turn(
    rooms: Sequence[Room], missing: Sequence[ReplicaGroup], places: Places
) -> Iterator[RunningReplica]:
    """Give each missing replica its first place; ends at the first that finds none."""
    for group in missing:
        replica = next(places(group, rooms), None)
        if replica is None:
            return
        yield replica
        rooms = [room.without([replica]) for room in rooms]


def _search(
    rooms: Sequence[Room], missing: Sequence[ReplicaGroup], places: Places, steps: Iterator[int]
) -> list[RunningReplica] | None:
    """Place the first of the missing wherever the rest then fit too."""
    if not missing:
        return []
    tried: set[RunningReplica] = set()
    for replica in places(missing[0], rooms):
        # Several of the rooms may have it.
        if replica in tried:
            continue
        tried.add(replica)
        if next(steps, None) is None:
            return None
        left = [room.without([replica]) for room in rooms]
        behind = _search(left, missing[1:], places, steps)
        if behind is not None:
            return [replica, *behind]
    return None
