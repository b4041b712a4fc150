"""The devices of a node on which the workers of a cascade start, alone or shared. Pure.

A tier that names its devices gets those. The other tiers get devices of their own, the largest
first. Where there are too few, workers share: each takes the devices with the fewest bytes of
weights, the largest worker first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import Device, devices_of
from cascadia_sglang.capacity.service_placement import place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError


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


def lay_out_workers(pools: Sequence[WantedPool], node: Node) -> tuple[RunningReplica, ...]:
    """A place for every worker, in the pools' order where they share devices.

    Raises:
        InfeasiblePlanError: if a worker has more ranks than there are devices, a tier names devices
            that are not there or do not make whole workers, or shares of a device exceed it.
    """
    for pool in pools:
        if pool.capacity.replicas and pool.size > node.devices:
            raise InfeasiblePlanError(
                f"a worker of tier {pool.pool} needs {pool.size} devices, there are {node.devices}"
            )
    needed = sum(pool.size * pool.capacity.replicas for pool in pools)
    is_plain = all(pool.devices is None and pool.gpu_share in (None, 1.0) for pool in pools)
    if is_plain and needed <= node.devices:
        nothing = RunningPlan(replicas=(), thresholds=())
        capacities = {pool.pool: pool.capacity for pool in pools}
        return place_in_service(nothing, capacities, Cluster(nodes=(node,)), None)
    cards = _Cards(node.devices)
    order = sorted(range(len(pools)), key=lambda index: _rank(pools[index]))
    replicas_by_pool: dict[int, list[RunningReplica]] = {}
    unbound = sum(pool.size * pool.capacity.replicas for pool in pools if pool.is_unbound)
    fits_unshared: bool | None = None
    for index in order:
        pool = pools[index]
        if pool.is_unbound and fits_unshared is None:
            fits_unshared = cards.free >= unbound
        places = cards.places(pool, alone=bool(fits_unshared))
        group = pool.capacity.group(pool.pool, node.gpu)
        replicas_by_pool[index] = [group.at(node.number, *location) for location in places]
    return tuple(replica for index in range(len(pools)) for replica in replicas_by_pool[index])


def shared_devices(replicas: Sequence[RunningReplica], node: Node) -> frozenset[Device]:
    """The devices of a node that more than one of these workers lies on."""
    every = [device for replica in replicas for device in devices_of(replica, node.devices)]
    return frozenset(device for device in every if every.count(device) > 1)


def _rank(pool: WantedPool) -> tuple[bool, bool, int, float]:
    """Named devices first, then shares that were given, then the largest."""
    return pool.devices is None, pool.gpu_share is None, -pool.size, -pool.weights_bytes


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

    def places(self, pool: WantedPool, *, alone: bool) -> list[tuple[int, int]]:
        """Base and step for every worker of a pool; they are taken.

        Args:
            alone: whether there are free devices for all workers that are bound to none.
        """
        locations = []
        named = list(self._named(pool))
        for number in range(pool.capacity.replicas):
            if named:
                location = named[number]
            elif pool.gpu_share is not None:
                location = self._with_room(pool, pool.gpu_share)
            else:
                location = self._least(pool, alone=alone)
            locations.append(location)
            self._take(pool, location)
        return locations

    def _named(self, pool: WantedPool) -> Iterator[tuple[int, int]]:
        if pool.devices is None:
            return
        count = len(self._workers)
        for device in pool.devices:
            if device >= count:
                raise InfeasiblePlanError(
                    f"tier {pool.pool}: device {device} is not there, there are {count}"
                )
        groups = [
            pool.devices[at : at + pool.size] for at in range(0, len(pool.devices), pool.size)
        ]
        if len(groups[-1]) < pool.size or len(groups) != max(1, pool.capacity.replicas):
            raise InfeasiblePlanError(
                f"tier {pool.pool}: {len(pool.devices)} devices are named, "
                f"{pool.capacity.replicas} workers of {pool.size} want {pool.size} each"
            )
        for group in groups:
            steps = {after - before for before, after in pairwise(group)}
            if len(steps) > 1 or min(steps, default=1) < 1:
                raise InfeasiblePlanError(
                    f"tier {pool.pool}: devices {list(group)} of one worker must rise in equal "
                    "steps"
                )
            if pool.capacity.pp_size > 1 and max(steps) > 1:
                raise InfeasiblePlanError(
                    f"tier {pool.pool}: devices {list(group)} of one worker must be neighbours, "
                    "for SGLang steps over devices within a pipeline stage alone"
                )
            yield group[0], min(steps, default=1)

    def _with_room(self, pool: WantedPool, share: float) -> tuple[int, int]:
        """Devices that others with a share have begun, else free ones, else any with room."""
        fitting = [
            group
            for group in self._groups(pool)
            if all(self._shares[card] + share <= 1.0 for card in group)
        ]
        if not fitting:
            raise InfeasiblePlanError(
                f"tier {pool.pool}: no device has {share:g} of its memory left beside the other "
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

    def _groups(self, pool: WantedPool) -> list[range]:
        """Neighbouring devices for one more worker; a second one of a pool goes elsewhere."""
        starts = range(len(self._workers) - pool.size + 1)
        groups = [range(at, at + pool.size) for at in starts]
        free_of_pool = [
            group for group in groups if not any(pool.pool in self._workers[card] for card in group)
        ]
        if not free_of_pool:
            raise InfeasiblePlanError(
                f"tier {pool.pool}: {pool.capacity.replicas} workers of {pool.size} devices do not "
                f"find {len(self._workers)} devices enough, and two of one tier share none"
            )
        return free_of_pool

    def _least(self, pool: WantedPool, *, alone: bool) -> tuple[int, int]:
        """Devices with the fewest bytes; free ones alone while there are enough for all."""
        ranges = self._groups(pool)
        free = [group for group in ranges if not any(self._workers[card] for card in group)]
        best = min(
            free if alone and free else ranges,
            key=lambda group: (
                max(self._bytes[card] for card in group),
                group.start % pool.size,
                group.start,
            ),
        )
        return best.start, 1

    def _take(self, pool: WantedPool, location: tuple[int, int]) -> None:
        base, step = location
        for card in range(base, base + pool.size * step, step):
            self._bytes[card] += pool.weights_bytes
            self._shares[card] += pool.gpu_share or 0.0
            self._workers[card].append(pool.pool)
