"""The nodes of a server, of any size, and what its workers need of them. Pure."""

from __future__ import annotations

import msgspec

from cascadia_sglang.capacity.devices import Device, Room, devices_of
from cascadia_sglang.capacity.types import Node, RunningReplica


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a server, those included that are away.

    Attributes:
        nodes: in the order of their numbers; without any other, the server's own host alone.
        least_gib: of each device, that a worker of a pool needs, as far as that is known.
    """

    nodes: tuple[Node, ...]
    least_gib: dict[str, float] = {}

    @property
    def gpu(self) -> str:
        """Type of the devices, which all nodes have."""
        return self.nodes[0].gpu

    @property
    def devices(self) -> int:
        """How many there are on the nodes that are up."""
        return sum(node.devices for node in self.nodes if node.is_up)

    def node(self, number: int) -> Node:
        """The node of this number; there must be one."""
        return next(node for node in self.nodes if node.number == number)

    def nodes_of(self, replica: RunningReplica) -> list[Node]:
        """The nodes that a replica lies on."""
        numbers = {number for _, number, _ in self.devices_of(replica)}
        return [node for node in self.nodes if node.number in numbers]

    def is_up(self, replica: RunningReplica) -> bool:
        """Whether every node of a replica is up."""
        return all(node.is_up for node in self.nodes_of(replica))

    def devices_of(self, replica: RunningReplica) -> list[Device]:
        """Devices of a replica, in the order of its ranks."""
        return devices_of(replica, self.node(replica.node).devices)

    def room(self) -> Room:
        """All devices of the nodes that are up."""
        return Room.of_nodes(self.nodes)

    def with_memory(self, pool: str) -> frozenset[int]:
        """Numbers of the nodes whose devices may have what a worker of this pool needs."""
        least = self.least_gib.get(pool, 0.0)
        return frozenset(
            node.number
            for node in self.nodes
            if node.memory_gib is None or node.memory_gib >= least
        )
