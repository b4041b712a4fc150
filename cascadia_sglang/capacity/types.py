"""Devices that there are, replicas that run on them, and how many of a shape a pool is to have."""

from __future__ import annotations

import msgspec


class GpuType(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes of one type of GPU; `memory_gib` is what a device can give to a worker."""

    gpu: str
    nodes: int
    gpus_per_node: int
    memory_gib: float | None = None


class RunningReplica(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker that runs: on devices base_gpu_id + k * gpu_id_step of a node.

    A replica larger than a node has all devices of this node and of the next ones.
    """

    pool: str
    gpu: str
    tp_size: int = 1
    pp_size: int = 1
    node: int
    base_gpu_id: int
    gpu_id_step: int = 1

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
                (one.gpu, one.node, one.base_gpu_id + rank * one.gpu_id_step)
                for one in self.replicas
                for rank in range(one.replica_gpus)
            }
        )


class ReplicaGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas of one pool, of one shape, on one type of GPU."""

    pool: str
    gpu: str
    tp_size: int = 1
    pp_size: int = 1
    replicas: int = 1

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
