"""The devices on which the workers of a cascade start, alone or shared. Pure.

A tier that names its devices gets those. The other tiers get devices of their own, the largest
first. Where there are too few, workers share: each takes the devices with the fewest bytes of
weights, the largest worker first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.capacity_types import Capacity, GpuType, RunningPlan, RunningReplica
from cascadia_sglang.planner.devices import devices_of
from cascadia_sglang.planner.replica_placement import place_in_service


class WantedPool(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of a pool; `weights_bytes` is on each device of one of them.

    `devices` and `gpu_share` are those of the cascade file.
    """

    pool: str
    capacity: Capacity
    devices: tuple[int, ...] | None = None
    gpu_share: float | None = None
    weights_bytes: float = 0.0

    @property
    def is_unbound(self) -> bool:
        """Whether any device will do, a free one if there is one."""
        return self.devices is None and self.gpu_share is None

    @property
    def size(self) -> int:
        """Devices of one worker."""
        return self.capacity.replica_gpus


def lay_out_workers(wanted: Sequence[WantedPool], kind: GpuType) -> tuple[RunningReplica, ...]:
    """A place for every worker, in the pools' order where they share devices.

    Raises:
        InfeasiblePlanError: if a worker has more ranks than there are devices, a tier names devices
            that are not there or do not make whole workers, or shares of a device exceed it.
    """
    for one in wanted:
        if one.capacity.replicas and one.size > kind.gpus_per_node:
            raise InfeasiblePlanError(
                f"a worker of tier {one.pool} needs {one.size} devices, there are "
                f"{kind.gpus_per_node}"
            )
    needed = sum(one.size * one.capacity.replicas for one in wanted)
    is_plain = all(one.devices is None and one.gpu_share in (None, 1.0) for one in wanted)
    if is_plain and needed <= kind.gpus_per_node:
        nothing = RunningPlan(replicas=(), thresholds=())
        return place_in_service(nothing, {one.pool: one.capacity for one in wanted}, kind, None)
    cards = _Cards(kind.gpus_per_node)
    order = sorted(range(len(wanted)), key=lambda index: _rank(wanted[index]))
    found: dict[int, list[RunningReplica]] = {}
    unbound = sum(one.size * one.capacity.replicas for one in wanted if one.is_unbound)
    has_own: bool | None = None
    for index in order:
        one = wanted[index]
        if one.is_unbound and has_own is None:
            has_own = cards.free >= unbound
        places = cards.places(one, alone=bool(has_own))
        found[index] = [one.capacity.group(one.pool, kind.gpu).at(0, *place) for place in places]
    return tuple(replica for index in range(len(wanted)) for replica in found[index])


def shared_devices(replicas: Sequence[RunningReplica], kind: GpuType) -> frozenset[int]:
    """Numbers of the devices that more than one of these workers lies on."""
    every = [device for one in replicas for _, _, device in devices_of(one, kind)]
    return frozenset(device for device in every if every.count(device) > 1)


def _rank(one: WantedPool) -> tuple[bool, bool, int, float]:
    """Named devices first, then shares that were given, then the largest."""
    return one.devices is None, one.gpu_share is None, -one.size, -one.weights_bytes


class _Cards:
    """What lies on every device so far."""

    def __init__(self, count: int) -> None:
        self._bytes = [0.0] * count
        self._shares = [0.0] * count
        self._workers: list[list[str]] = [[] for _ in range(count)]

    @property
    def free(self) -> int:
        """How many devices nothing lies on."""
        return self._workers.count([])

    def places(self, one: WantedPool, *, alone: bool) -> list[tuple[int, int]]:
        """Base and step for every worker of a pool; they are taken.

        Args:
            alone: whether there are free devices for all workers that are bound to none.
        """
        found = []
        named = list(self._named(one))
        for number in range(one.capacity.replicas):
            if named:
                place = named[number]
            elif one.gpu_share is not None:
                place = self._with_room(one, one.gpu_share)
            else:
                place = self._least(one, alone=alone)
            found.append(place)
            self._take(one, place)
        return found

    def _named(self, one: WantedPool) -> Iterator[tuple[int, int]]:
        if one.devices is None:
            return
        count = len(self._workers)
        for device in one.devices:
            if device >= count:
                raise InfeasiblePlanError(
                    f"tier {one.pool}: device {device} is not there, there are {count}"
                )
        groups = [one.devices[at : at + one.size] for at in range(0, len(one.devices), one.size)]
        if len(groups[-1]) < one.size or len(groups) != max(1, one.capacity.replicas):
            raise InfeasiblePlanError(
                f"tier {one.pool}: {len(one.devices)} devices are named, "
                f"{one.capacity.replicas} workers of {one.size} want {one.size} each"
            )
        for group in groups:
            steps = {after - before for before, after in pairwise(group)}
            if len(steps) > 1 or min(steps, default=1) < 1:
                raise InfeasiblePlanError(
                    f"tier {one.pool}: devices {list(group)} of one worker must rise in equal steps"
                )
            if one.capacity.pp_size > 1 and max(steps) > 1:
                raise InfeasiblePlanError(
                    f"tier {one.pool}: devices {list(group)} of one worker must be neighbours, for "
                    "SGLang steps over devices within a pipeline stage alone"
                )
            yield group[0], min(steps, default=1)

    def _with_room(self, one: WantedPool, share: float) -> tuple[int, int]:
        """Devices that others with a share have begun, else free ones, else any with room."""
        fitting = [
            group
            for group in self._groups(one)
            if all(self._shares[card] + share <= 1.0 for card in group)
        ]
        if not fitting:
            raise InfeasiblePlanError(
                f"tier {one.pool}: no device has {share:g} of its memory left beside the other "
                "tiers' gpu_share"
            )
        best = min(
            fitting,
            key=lambda group: (
                -max(self._shares[card] for card in group),
                any(self._workers[card] for card in group),
                group.start,
            ),
        )
        return best.start, 1

    def _groups(self, one: WantedPool) -> list[range]:
        """Neighbouring devices for one more worker; a second one of a pool goes elsewhere."""
        starts = range(len(self._workers) - one.size + 1)
        groups = [range(at, at + one.size) for at in starts]
        found = [
            group for group in groups if not any(one.pool in self._workers[card] for card in group)
        ]
        if not found:
            raise InfeasiblePlanError(
                f"tier {one.pool}: {one.capacity.replicas} workers of {one.size} devices do not "
                f"find {len(self._workers)} devices enough, and two of one tier share none"
            )
        return found

    def _least(self, one: WantedPool, *, alone: bool) -> tuple[int, int]:
        """Devices with the fewest bytes; free ones alone while there are enough for all."""
        ranges = self._groups(one)
        free = [group for group in ranges if not any(self._workers[card] for card in group)]
        best = min(
            free if alone and free else ranges,
            key=lambda group: (
                max(self._bytes[card] for card in group),
                group.start % one.size,
                group.start,
            ),
        )
        return best.start, 1

    def _take(self, one: WantedPool, place: tuple[int, int]) -> None:
        base, step = place
        for card in range(base, base + one.size * step, step):
            self._bytes[card] += one.weights_bytes
            self._shares[card] += one.gpu_share or 0.0
            self._workers[card].append(one.pool)
