"""Devices that there are, replicas that run on them, and how many of a shape a pool is to have."""

from __future__ import annotations

from typing import Annotated

import msgspec

from cascadia_sglang.value_ranges import NotNegative, bounds

# More of anything than this is a slip of the pen, and would not fit the solver's integers.
MOST = 1_000_000
Limited = Annotated[int, bounds(minimum=1, maximum=MOST)]


class GpuType(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes of one type of GPU."""

    gpu: str
    """Name of the type."""
    nodes: Limited
    """How many nodes there are."""
    gpus_per_node: Limited
    """Devices of a node."""
    memory_gib: NotNegative | None = None
    """GiB of a device that a worker can have."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that a server's workers run on; without more said, the host of the server."""

    gpu: str
    """Type of its devices, as SGLang's platform has it: the same on all nodes."""
    devices: int
    """How many it has; on a host, workers that it may hold."""
    number: int = 0
    """By which replicas name it; it keeps the number while it is away."""
    name: str = "this host"
    """For people."""
    memory_gib: float | None = None
    """GiB that a worker can have of its largest device; None where that is not known."""
    is_local: bool = True
    """Whether the server itself runs there."""
    is_up: bool = True
    """Whether it answers; one that does not is away, and nothing runs on it."""
    silent_s: float | None = None
    """Seconds since its last sign; None of the server's own host."""


class RunningReplica(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker that runs, on devices `base_gpu_id + k * gpu_id_step` of a node.

    A replica larger than a node has all devices of this node and of the next ones.
    """

    pool: str
    """Name of the pool."""
    gpu: str
    """Type of GPU."""
    tp_size: Limited = 1
    """Tensor parallel size."""
    pp_size: Limited = 1
    """Pipeline stages."""
    node: int
    """Number of the node, from 0."""
    base_gpu_id: int
    """Number of its first device."""
    gpu_id_step: Limited = 1
    """Distance between its devices."""

    @property
    def replica_gpus(self) -> int:
        return self.tp_size * self.pp_size


class RunningPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it is in force: where every replica lies, and the tiers' thresholds."""

    replicas: tuple[RunningReplica, ...]
    thresholds: tuple[float, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Replicas of every pool that has one."""
        counts: dict[str, int] = {}
        for replica in self.replicas:
            counts[replica.pool] = counts.get(replica.pool, 0) + 1
        return counts

    @property
    def gpus(self) -> int:
        """Devices that the replicas hold, all together; one that several share counts once."""
        return len(
            {
                (replica.gpu, replica.node, replica.base_gpu_id + rank * replica.gpu_id_step)
                for replica in self.replicas
                for rank in range(replica.replica_gpus)
            }
        )


class ReplicaGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas of one pool, of one shape, on one type of GPU."""

    pool: str
    """Name of the pool."""
    gpu: str
    """Type of GPU, one of `cluster`."""
    tp_size: Limited = 1
    """Tensor parallel size."""
    pp_size: Limited = 1
    """Pipeline stages."""
    replicas: Limited = 1
    """How many there are."""

    @property
    def replica_gpus(self) -> int:
        return self.tp_size * self.pp_size

    @property
    def gpus(self) -> int:
        return self.replica_gpus * self.replicas

    def matches(self, replica: RunningReplica) -> bool:
        """Whether a replica has this pool, shape and type of GPU."""
        return (replica.pool, replica.gpu, replica.tp_size, replica.pp_size) == (
            self.pool,
            self.gpu,
            self.tp_size,
            self.pp_size,
        )

    def at(self, node: int, base_gpu_id: int, gpu_id_step: int = 1) -> RunningReplica:
        """One of these replicas at a place."""
        return RunningReplica(
            pool=self.pool,
            gpu=self.gpu,
            tp_size=self.tp_size,
            pp_size=self.pp_size,
            node=node,
            base_gpu_id=base_gpu_id,
            gpu_id_step=gpu_id_step,
        )


class Capacity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas of one shape that a pool is to have."""

    replicas: int
    tp_size: int = 1
    pp_size: int = 1

    @property
    def replica_gpus(self) -> int:
        return self.tp_size * self.pp_size

    def group(self, pool: str, gpu: str) -> ReplicaGroup:
        """These replicas, of this pool and on this type of GPU."""
        return ReplicaGroup(
            pool=pool,
            gpu=gpu,
            tp_size=self.tp_size,
            pp_size=self.pp_size,
            replicas=self.replicas,
        )


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Places of workers that could serve at once, and do not.

    Attributes:
        prepared: where a replica of the same pool serves without a start.
        held: where nobody else may start.
    """

    prepared: tuple[RunningReplica, ...] = ()
    held: tuple[RunningReplica, ...] = ()
