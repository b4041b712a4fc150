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


class Capacity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas of one shape that a pool is to have."""

    replicas: int
    tp_size: int = 1
    pp_size: int = 1


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Places of workers that could serve at once, and do not.

    Attributes:
        prepared: where a replica of the same pool serves without a start.
        held: where nobody else may start.
    """

    prepared: tuple[RunningReplica, ...] = ()
    held: tuple[RunningReplica, ...] = ()
