"""Starts workers on this host and on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.service_placement import place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.cluster.addresses import Addresses
from cascadia_sglang.cluster.remote_handle import RemoteHandle, RemoteLoad
from cascadia_sglang.cluster.remote_nodes import RemoteNodes
from cascadia_sglang.cluster.wire import WorkerOrder
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import InfeasiblePlanError, WorkerError

if TYPE_CHECKING:
    from cascadia_sglang.launch.launcher import LocalLauncher, ResolvedWorker
    from cascadia_sglang.launch.scheduler_group import SchedulerGroup


class Loads(Protocol):
    """Takes in the loads of workers elsewhere."""

    def listen(self, address: str) -> RemoteLoad: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWorker:
    """A worker to start on another host, where its arguments are resolved."""

    pool: PoolSpec
    worker_id: str
    number: int
    replica: RunningReplica


class ClusterLauncher:
    """Implements `fleet.launcher_protocol.Launcher` over this host and the other nodes.

    Every worker has its devices alone, and all of them on one node.
    """

    blocks = Blocks()

    def __init__(
        self,
        local: LocalLauncher | None,
        nodes: RemoteNodes,
        replicas: Sequence[RunningReplica],
        addresses: Addresses,
        loads: Loads,
    ) -> None:
        """`local` starts the workers of this host; None where it takes none."""
        self._local = local
        self._nodes = nodes
        self._addresses = addresses
        self._loads = loads
        self.replicas = tuple(replicas)

    @property
    def cluster(self) -> Cluster:
        here = () if self._local is None else self._local.cluster.nodes
        return Cluster(nodes=(*here, *self._nodes.shown()))

    def resolved(
        self, pool: PoolSpec, number: int, replica: RunningReplica
    ) -> ResolvedWorker | RemoteWorker:
        """As the protocol says. Of a worker elsewhere nothing is found out yet."""
        nodes = self.cluster.nodes_of(replica)
        if len(nodes) > 1:
            raise WorkerError(
                f"a worker of {pool.name} has {replica.replica_gpus} devices, its node has "
                f"{nodes[0].devices}: workers of several nodes cannot be started"
            )
        if nodes[0].is_local:
            assert self._local is not None
            return self._local.resolved(pool, number, replica)
        return RemoteWorker(
            pool=pool, worker_id=f"{pool.name}-{number}", number=number, replica=replica
        )

    def start(self, resolved: ResolvedWorker | RemoteWorker) -> SchedulerGroup | RemoteHandle:
        if not isinstance(resolved, RemoteWorker):
            assert self._local is not None
            return self._local.start(resolved)
        inputs, load_address = self._addresses.take(), self._addresses.take()
        order = WorkerOrder(
            pool=resolved.pool.name,
            worker_id=resolved.worker_id,
            number=resolved.number,
            replica=resolved.replica,
            version=0,
            input_address=inputs,
            load_address=load_address,
        )
        load = self._loads.listen(load_address)
        handle = RemoteHandle(resolved.pool, order, load, self._release)
        try:
            self._nodes.start(handle, order)
        except WorkerError:
            handle.close()
            raise
        return handle

    def end(self) -> None:
        self._nodes.close()
        self._loads.close()
        if self._local is not None:
            self._local.end()

    def _release(self, handle: RemoteHandle) -> None:
        self._nodes.release(handle)
        self._addresses.give_back(handle.input_address)
        self._addresses.give_back(handle.load_address)


def placed_replicas(
    capacities: dict[str, Capacity], nodes: Sequence[Node]
) -> tuple[RunningReplica, ...]:
    """Where the workers of a start lie: the fullest node with room first, each on one node.

    Raises:
        InfeasiblePlanError: if the nodes have too few devices, or a worker is larger than a node.
    """
    largest = max((node.devices for node in nodes), default=0)
    for pool, capacity in capacities.items():
        if capacity.replica_gpus > largest:
            raise InfeasiblePlanError(
                f"a worker of tier {pool} needs {capacity.replica_gpus} devices of one node, the "
                f"largest has {largest}"
            )
    nothing = RunningPlan(replicas=(), thresholds=())
    return place_in_service(nothing, capacities, Cluster(nodes=tuple(nodes)), None)


def with_devices(node: Node, most: int | None) -> Node:
    """A node of which workers may have so many devices; None for all."""
    if most is None:
        return node
    return msgspec.structs.replace(node, devices=min(most, node.devices))
