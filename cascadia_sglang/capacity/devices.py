"""Which devices a replica lies on, and where a further one finds room."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set

from cascadia_sglang.capacity.types import GpuType, Node, ReplicaGroup, RunningReplica

# Type of GPU and number of the node.
NodeKey = tuple[str, int]
# Type of GPU, node, and device in the node.
Device = tuple[str, int, int]


def devices_of(replica: RunningReplica, gpus_per_node: int) -> list[Device]:
    """Devices of a replica, in the order of its ranks.

    SGLang steps over devices within a stage alone, so a replica of several stages has neighbours:
    its `gpu_id_step` is 1. One larger than a node has all devices of its node and of the next ones.

    Args:
        gpus_per_node: devices of its node; of each of its nodes, where it has several.
    """
    if replica.replica_gpus > gpus_per_node:
        nodes = replica.replica_gpus // gpus_per_node
        return [
            (replica.gpu, replica.node + node, device)
            for node in range(nodes)
            for device in range(gpus_per_node)
        ]
    return [
        (replica.gpu, replica.node, replica.base_gpu_id + rank * replica.gpu_id_step)
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
        for gpu, node, device in devices_of(replica, kind.gpus_per_node):
            if not (0 <= node < kind.nodes and 0 <= device < kind.gpus_per_node):
                yield index, f"device {device} of node {node} is not among the {gpu} of cluster"
            elif (gpu, node, device) in taken:
                yield index, f"device {device} of node {node} ({gpu}) is taken twice"
            taken.add((gpu, node, device))


def progression(
    free: Set[int], tp_size: int, pp_size: int, gpus_per_node: int
) -> tuple[int, int] | None:
    """The best of `progressions`; None where there are none."""
    return next(progressions(free, tp_size, pp_size, gpus_per_node), None)


def progressions(
    free: Set[int], tp_size: int, pp_size: int, gpus_per_node: int
) -> Iterator[tuple[int, int]]:
    """Base and step of free devices base + k * step for a replica, the best first.

    Neighbours first, those on a multiple of their count before others, so that what stays free
    stays in one piece. Several stages take neighbours alone.
    """
    count = tp_size * pp_size
    if count == 1:
        # The free device with the fewest free neighbours.
        for alone in sorted(free, key=lambda d: ((d - 1 in free) + (d + 1 in free), d)):
            yield alone, 1
        return
    for step in range(1, gpus_per_node if pp_size == 1 else 2):
        for base in sorted(free, key=lambda base: (base % count != 0, base)):
            if all(base + rank * step in free for rank in range(count)):
                yield base, step


class Room:
    """Free devices of every node; nothing changes a room."""

    def __init__(
        self, free: Mapping[NodeKey, frozenset[int]], sizes: Mapping[NodeKey, int]
    ) -> None:
        """`sizes` are the devices of every node, also of those that have none free."""
        self._free = free
        self._sizes = sizes

    @classmethod
    def of(cls, cluster: Sequence[GpuType]) -> Room:
        """All devices of a cluster of equal nodes."""
        sizes = {
            (kind.gpu, node): kind.gpus_per_node for kind in cluster for node in range(kind.nodes)
        }
        return cls({key: frozenset(range(size)) for key, size in sizes.items()}, sizes)

    @classmethod
    def of_nodes(cls, nodes: Iterable[Node]) -> Room:
        """All devices of the nodes that are up."""
        free, sizes = {}, {}
        for node in nodes:
            sizes[node.gpu, node.number] = node.devices
            free[node.gpu, node.number] = frozenset(range(node.devices if node.is_up else 0))
        return cls(free, sizes)

    def devices_of(self, replica: RunningReplica) -> list[Device]:
        """Devices of a replica on one of the nodes."""
        return devices_of(replica, self._sizes[replica.gpu, replica.node])

    def without(self, replicas: Iterable[RunningReplica]) -> Room:
        """The room without the devices of these replicas."""
        free = dict(self._free)
        for replica in replicas:
            for gpu, node, device in self.devices_of(replica):
                free[gpu, node] -= {device}
        return Room(free, self._sizes)

    def only(self, numbers: Container[int]) -> Room:
        """The room of the nodes with these numbers alone."""
        free = {
            (gpu, node): devices if node in numbers else frozenset()
            for (gpu, node), devices in self._free.items()
        }
        return Room(free, self._sizes)

    def holds(self, replica: RunningReplica) -> bool:
        """Whether all devices of a replica are free."""
        return all(
            device in self._free[gpu, node] for gpu, node, device in self.devices_of(replica)
        )

    def places(self, group: ReplicaGroup) -> Iterator[RunningReplica]:
        """Places for one replica of a group, the node of least room first, the best of each node.

        Of nodes with the same free devices, the first alone has one.
        """
        seen: set[frozenset[int]] = set()
        free = {
            number: devices for (gpu, number), devices in self._free.items() if gpu == group.gpu
        }
        for number in sorted(free, key=lambda number: (len(free[number]), number)):
            devices, size = free[number], self._sizes[group.gpu, number]
            if size >= group.replica_gpus and devices not in seen:
                seen.add(devices)
                location = progression(devices, group.tp_size, group.pp_size, size)
                if location is not None:
                    yield group.at(number, *location)
        yield from self._whole_nodes(group)

    def further_places(self, group: ReplicaGroup) -> Iterator[RunningReplica]:
        """The other places in each node."""
        for (gpu, number), devices in self._free.items():
            size = self._sizes[gpu, number]
            if gpu == group.gpu and size >= group.replica_gpus:
                locations = progressions(devices, group.tp_size, group.pp_size, size)
                for location in itertools.islice(locations, 1, None):
                    yield group.at(number, *location)

    def _whole_nodes(self, group: ReplicaGroup) -> Iterator[RunningReplica]:
        """Neighbouring nodes of one size that are free as a whole, where one alone is too small.

        Every stage lies within a node.
        """
        for (gpu, number), size in self._sizes.items():
            if gpu != group.gpu or not group.tp_size <= size < group.replica_gpus:
                continue
            keys = [(gpu, number + offset) for offset in range(-(-group.replica_gpus // size))]
            is_whole = all(
                self._sizes.get(key) == size == len(self._free.get(key, ())) for key in keys
            )
            if is_whole and group.replica_gpus % size == 0:
                yield group.at(number, 0)
