"""How the workers of a server share its accelerators."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cascadia_patches.apply import apply_patches
from cascadia_patches.registry import CAPACITY_PATCHES
from cascadia_sglang.capacity.blocks import Blocks, blocks_of
from cascadia_sglang.capacity.devices import Device
from cascadia_sglang.capacity.layout import WantedPool, lay_out_workers, shared_devices
from cascadia_sglang.capacity.types import Capacity, Node, RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.memory.cards import seen_cards
from cascadia_sglang.memory.fit import MemoryShape, PoolMemory, pool_memory
from cascadia_sglang.memory.runtime import CONTEXT_BYTES
from cascadia_sglang.messages import DeviceShare

_resolved_share = contextvars.ContextVar("resolved_share", default=1.0)


class _Resolving:
    """The share of the worker whose arguments are being resolved."""

    @property
    def share(self) -> float:
        return _resolved_share.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Where the workers of a cascade start, and the part of their devices that each has.

    Attributes:
        replicas: in the order of the pools.
        shared: devices that several workers lie on.
        blocks: the pools that share them, which moves do not split.
        pools: memory of each pool; empty where no pool has less than whole devices.
    """

    replicas: tuple[RunningReplica, ...]
    shared: frozenset[Device]
    blocks: Blocks
    pools: tuple[PoolMemory, ...] = ()

    @property
    def least_gib(self) -> dict[str, float]:
        """What the weights of a worker of each pool take of each device, where that is known."""
        sizes = ((memory.name, memory.weights_bytes) for memory in self.pools)
        return {name: size / 2**30 for name, size in sizes if size is not None}

    def share(self, pool: PoolSpec) -> DeviceShare | None:
        """A worker's part of each of its devices; None where it has them alone."""
        for memory in self.pools:
            if memory.name == pool.name and memory.share is not None:
                free_bytes = memory.device_bytes - CONTEXT_BYTES
                return DeviceShare(share=memory.share, free_bytes=free_bytes)
        return None


def host_devices(arguments: TierArguments, pools: Sequence[PoolSpec], node: Node) -> DeviceMemory:
    """On a host, where devices are numbers alone.

    Raises:
        InfeasiblePlanError: if the numbers do not make workers.
    """
    wanted_pools = [
        WantedPool(
            pool=pool.name,
            capacity=Capacity(replicas=pool.replicas, **arguments.parallel_sizes(pool)),
            devices=pool.devices,
            gpu_share=pool.gpu_share,
        )
        for pool in pools
    ]
    replicas = lay_out_workers(wanted_pools, node)
    return DeviceMemory(
        replicas=replicas,
        shared=shared_devices(replicas, node),
        blocks=blocks_of(replicas, node),
    )


def device_memory(arguments: TierArguments, pools: Sequence[PoolSpec], node: Node) -> DeviceMemory:
    """On accelerators, before any worker starts.

    Raises:
        ConfigError: if the workers find no devices, or a model does not fit; names the tier, what
            it needs and what there is.
        InfeasiblePlanError: the first, where the memory of the devices is not known.
    """
    cards = seen_cards()
    if len(cards) < torch.cuda.device_count() or not node.devices:
        # Of another make, or parts of a device: each worker has its own, as SGLang finds it.
        host_memory = host_devices(arguments, pools, node)
        if host_memory.shared or any(pool.gpu_share is not None for pool in pools):
            raise ConfigError(
                f"{len(host_memory.replicas)} workers want more than the {node.devices} "
                "devices here, and the driver does not tell their memory, so they cannot be shared"
            )
        return host_memory
    shapes = {
        pool.name: MemoryShape(
            **arguments.parallel_sizes(pool), static=arguments.flag(pool, "mem_fraction_static")
        )
        for pool in pools
    }
    usable = cards[arguments.first_device :: arguments.device_step]
    memory = pool_memory(pools, shapes, usable)
    replicas = tuple(replica for pool in memory for replica in pool.replicas)
    if any(pool.share is not None for pool in memory):
        apply_patches(CAPACITY_PATCHES, _Resolving())
    return DeviceMemory(
        replicas=replicas,
        shared=shared_devices(replicas, node),
        blocks=blocks_of(replicas, node),
        pools=tuple(memory),
    )


def whole_devices(replicas: tuple[RunningReplica, ...] = ()) -> DeviceMemory:
    """Every worker has its devices alone, wherever these replicas and further ones lie."""
    return DeviceMemory(replicas=replicas, shared=frozenset(), blocks=Blocks())


@contextlib.contextmanager
def resolving(share: DeviceShare | None) -> Iterator[None]:
    """Within it SGLang resolves arguments for a worker with this part of its devices."""
    token = _resolved_share.set(1.0 if share is None else share.share)
    try:
        yield
    finally:
        _resolved_share.reset(token)
