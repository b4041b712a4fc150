"""Places replicas on the equal nodes of a plan's cluster, so that few running ones move. Pure.

A running replica of a wanted shape stays where it is. The others are placed one after the other,
the largest first, each in the fullest node that has room for it. Where the free devices are so
scattered that a new replica finds no room, as few running ones as possible move.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascadia_sglang.capacity.devices import Room
from cascadia_sglang.capacity.place_search import found_places, missing_groups
from cascadia_sglang.capacity.types import GpuType, ReplicaGroup, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError

# Choices of replicas to keep before everything is placed again.
MAX_CHOICES = 2_000


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


def _free_places(group: ReplicaGroup, rooms: Sequence[Room]) -> Iterator[RunningReplica]:
    for room in rooms:
        yield from room.places(group)


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
    room = Room.of(cluster).without(itertools.chain(*kept_by_group))
    missing = missing_groups(groups, kept_by_group)
    placed = found_places([room], missing, _free_places)
    return placed if len(placed) == len(missing) else None


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
