"""Which devices a replica lies on, and where a further one finds room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from cascadia_sglang.capacity.types import GpuType, ReplicaGroup, RunningReplica

# Type of GPU, node, and device in the node.
Device = tuple[str, int, int]


def devices_of(replica: RunningReplica, kind: GpuType) -> list[Device]:
    """Devices of a replica on this type of GPU, in the order of its ranks.

    SGLang steps over devices within a stage alone, so a replica of several stages has neighbours:
    its `gpu_id_step` is 1. One larger than a node has all devices of its node and of the next ones.
    """
    if replica.replica_gpus > kind.gpus_per_node:
        nodes = replica.replica_gpus // kind.gpus_per_node
        return [
            (kind.gpu, replica.node + node, device)
            for node in range(nodes)
            for device in range(kind.gpus_per_node)
        ]
    return [
        (kind.gpu, replica.node, replica.base_gpu_id + rank * replica.gpu_id_step)
        for rank in range(replica.replica_gpus)
    ]


def misplaced(replicas: list[RunningReplica], cluster: list[GpuType]) -> Iterator[tuple[int, str]]:
    """Index of every replica on a device that is not there or is taken, and what is wrong."""
    kinds = {kind.gpu: kind for kind in cluster}
    taken: set[Device] = set()
    for index, replica in enumerate(replicas):
        kind = kinds.get(replica.gpu)
        if kind is None:
            yield index, f"gpu is {replica.gpu!r}, allowed: {', '.join(kinds)}"
            continue
        for gpu, node, device in devices_of(replica, kind):
            if not (0 <= node < kind.nodes and 0 <= device < kind.gpus_per_node):
                yield index, f"device {device} of node {node} is not among the {gpu} of cluster"
            elif (gpu, node, device) in taken:
                yield index, f"device {device} of node {node} ({gpu}) is taken twice"
            taken.add((gpu, node, device))


def progression(
    free: Set[int], tp_size: int, pp_size: int, gpus_per_node: int
) -> tuple[int, int] | None:
    """Base and step of free devices base + k * step for a replica; None where there are none.

    Neighbours first, those on a multiple of their count before others, so that what stays free
    stays in one piece. Several stages take neighbours alone.
    """
    count = tp_size * pp_size
    if count == 1:
        # The free device with the fewest free neighbours.
        alone = sorted(free, key=lambda d: ((d - 1 in free) + (d + 1 in free), d))
        return (alone[0], 1) if alone else None
    for step in range(1, gpus_per_node if pp_size == 1 else 2):
        bases = sorted(free, key=lambda base: (base % count != 0, base))
        for base in bases:
            if all(base + rank * step in free for rank in range(count)):
                return base, step
    return None


class Room:
    """Free devices of every node; nothing changes a room."""

    def __init__(self, free: Mapping[tuple[str, int], frozenset[int]]) -> None:
        self._free = free

    @classmethod
    def of(cls, cluster: Sequence[GpuType]) -> Room:
        """All devices of a cluster."""
        return cls(
            {
                (kind.gpu, node): frozenset(range(kind.gpus_per_node))
                for kind in cluster
                for node in range(kind.nodes)
            }
        )

    def without(self, devices: Iterable[Device]) -> Room:
        """The room without these devices; those of other nodes do not count."""
        free = dict(self._free)
        for gpu, node, device in devices:
            if (gpu, node) in free:
                free[gpu, node] -= {device}
        return Room(free)

    def holds(self, devices: Iterable[Device]) -> bool:
        """Whether all these devices are free."""
        return all(device in self._free.get((gpu, node), ()) for gpu, node, device in devices)

    def places(self, group: ReplicaGroup, kind: GpuType) -> Iterator[RunningReplica]:
        """Places for one replica of a group, the node of least room first.

        Of nodes with the same free devices, the first alone has one.
        """
        if group.replica_gpus > kind.gpus_per_node:
            yield from self._whole_nodes(group, kind)
            return
        seen: set[frozenset[int]] = set()
        nodes = sorted(range(kind.nodes), key=lambda node: (len(self._free[kind.gpu, node]), node))
        for node in nodes:
            devices = self._free[kind.gpu, node]
            if devices not in seen:
                seen.add(devices)
                location = progression(devices, group.tp_size, group.pp_size, kind.gpus_per_node)
                if location is not None:
                    yield group.at(node, *location)

    def _whole_nodes(self, group: ReplicaGroup, kind: GpuType) -> Iterator[RunningReplica]:
        """Neighbouring nodes that are free as a whole."""
        span = -(-group.replica_gpus // kind.gpus_per_node)
        for node in range(kind.nodes - span + 1):
            free = [self._free[kind.gpu, node + offset] for offset in range(span)]
            if all(len(devices) == kind.gpus_per_node for devices in free):
                yield group.at(node, 0)
