"""What the fleet needs of whoever starts workers, on this host or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.pool.worker_handle import WorkerHandle


class WorkerToStart(Protocol):
    """A worker to start, and whatever its launcher has found out for that."""

    @property
    def pool(self) -> PoolSpec: ...

    @property
    def worker_id(self) -> str: ...


Resolved = TypeVar("Resolved", bound=WorkerToStart)


class Launcher(Protocol[Resolved]):
    """Starts workers where there are devices for them."""

    @property
    def cluster(self) -> Cluster:
        """The nodes that there are, each up or away as it is known now."""
        ...

    @property
    def replicas(self) -> Sequence[RunningReplica]:
        """Of the server's start, in the order of the pools."""
        ...

    @property
    def blocks(self) -> Blocks:
        """The pools whose workers share devices, which moves do not split."""
        ...

    def resolved(self, pool: PoolSpec, number: int, replica: RunningReplica) -> Resolved:
        """A worker to start. Any thread may call it; it may take seconds.

        Args:
            number: of the worker, unique in the server.
            replica: its shape and its devices, which nobody else holds.

        Raises:
            WorkerError: if it cannot be started.
        """
        ...

    def start(self, resolved: Resolved) -> WorkerHandle:
        """Start it and return at once. Call it on the event loop's thread, or before it runs.

        Raises:
            WorkerError: if it cannot be started.
        """
        ...

    def end(self) -> None:
        """Remove what the workers leave behind, once all have ended."""
        ...
