"""Which part of a device's memory each worker of a cascade has, and whether its model fits it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cascadia_sglang.capacity.devices import devices_of
from cascadia_sglang.capacity.layout import WantedPool, lay_out_workers, shared_devices
from cascadia_sglang.capacity.types import Capacity, Node, RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError
from cascadia_sglang.memory.cards import Card
from cascadia_sglang.memory.runtime import CONTEXT_BYTES, reserve_bytes
from cascadia_sglang.memory.shares import Need, divided, least_bytes
from cascadia_sglang.memory.weights import kv_bytes_of, weight_bytes
from cascadia_sglang.models.local_files import local_folder

# Rounds until shares and what SGLang keeps free of them agree.
_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryShape:
    """How one worker of a pool is started.

    `static` is the operator's `mem_fraction_static`: of the device, or of the worker's share of it,
    for weights and key-value pool. None for SGLang's own rules.
    """

    tp_size: int = 1
    pp_size: int = 1
    static: float | None = None

    def own_bytes(self, device_bytes: float) -> float:
        """What a worker takes of so much memory besides weights and key-value pool."""
        if self.static is not None:
            return CONTEXT_BYTES + (1.0 - self.static) * device_bytes
        return CONTEXT_BYTES + reserve_bytes(device_bytes, self.tp_size, self.pp_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """What each worker of a pool has of each of its devices.

    Attributes:
        share: of the device's memory; None where the worker has it alone, by SGLang's own rules.
        device_bytes: of the device, or of the share.
        kv_bytes: of its key-value pool on each device, estimated.
        kv_tokens: that the pool holds. None, as `kv_bytes`, where the model's shape is not
            known, or nothing of the model is on this host.
    """

    name: str
    replicas: tuple[RunningReplica, ...]
    share: float | None
    device_bytes: float
    weights_bytes: float | None
    kv_bytes: float | None
    kv_tokens: int | None


def pool_memory(
    pools: Sequence[PoolSpec], sizes: Mapping[str, MemoryShape], cards: Sequence[Card]
) -> list[PoolMemory]:
    """Devices and memory of every pool on these cards, in the pools' order.

    Args:
        sizes: of each pool by name.

    Raises:
        ConfigError: if the workers find no devices, or a model does not fit; names the tier, what
            it needs and what there is.
    """
    node = Node(gpu="cuda", devices=len(cards))
    needs = {pool.name: _need(pool, sizes[pool.name]) for pool in pools}
    requests = [
        WantedPool(
            pool=pool.name,
            capacity=Capacity(
                replicas=pool.replicas,
                tp_size=sizes[pool.name].tp_size,
                pp_size=sizes[pool.name].pp_size,
            ),
            devices=pool.devices,
            gpu_share=pool.gpu_share,
            weights_bytes=needs[pool.name].weights_bytes,
        )
        for pool in pools
    ]
    try:
        replicas = lay_out_workers(requests, node)
    except InfeasiblePlanError as error:
        raise ConfigError(str(error)) from error
    shares = _shares(pools, sizes, needs, replicas, node, cards)
    memory = []
    for pool in pools:
        pool_replicas = tuple(replica for replica in replicas if replica.pool == pool.name)
        smallest = min(
            (
                cards[d].free_bytes
                for replica in pool_replicas
                for _, _, d in devices_of(replica, node.devices)
            )
        )
        share = shares.get(pool.name)
        memory.append(
            _fitting(
                needs[pool.name], sizes[pool.name], pool_replicas, share, smallest * (share or 1.0)
            )
        )
    return memory


def _shares(
    pools: Sequence[PoolSpec],
    sizes: Mapping[str, MemoryShape],
    needs: Mapping[str, Need],
    replicas: Sequence[RunningReplica],
    node: Node,
    cards: Sequence[Card],
) -> dict[str, float]:
    """The least share of any of its devices, of each pool that shares one or was given a share."""
    configured = {pool.name: pool.gpu_share for pool in pools if pool.gpu_share is not None}
    shares = dict(configured)
    for _, _, device in sorted(shared_devices(replicas, node)):
        names = [
            replica.pool
            for replica in replicas
            for _, _, number in devices_of(replica, node.devices)
            if number == device
        ]
        configured_sum = sum(configured.get(name, 0.0) for name in names)
        sharing = [name for name in names if name not in configured]
        if configured_sum > 1.0 + 1e-9 or (sharing and configured_sum >= 1.0):
            raise ConfigError(
                f"tiers {', '.join(dict.fromkeys(names))}: gpu_share on device {device} sums to "
                f"{configured_sum:g}, "
                f"{'nothing is left for ' + sharing[0] if sharing else 'allowed: 1'}"
            )
        room = cards[device].free_bytes * (1.0 - configured_sum)
        parts = _divided([(needs[name], sizes[name]) for name in sharing], room)
        for name, part in zip(sharing, parts, strict=True):
            share = math.floor(1e3 * part / cards[device].free_bytes) / 1e3
            shares[name] = min(share, shares.get(name, 1.0))
    return shares


def _divided(sharing: Sequence[tuple[Need, MemoryShape]], room_bytes: float) -> list[float]:
    """Bytes of each worker. What SGLang keeps free grows with a worker's part, so it is looked up
    for the parts of the round before."""
    parts = [room_bytes / len(sharing)] * len(sharing) if sharing else []
    for _ in range(_ROUNDS):
        sized = [
            replace(need, count=1, own_bytes=size.own_bytes(part))
            for (need, size), part in zip(sharing, parts, strict=True)
        ]
        left_bytes = room_bytes - sum(need.weights_bytes + need.own_bytes for need in sized)
        parts = [max(0.0, part) for part in divided(sized, left_bytes)]
    return parts


def _fitting(
    need: Need,
    size: MemoryShape,
    replicas: tuple[RunningReplica, ...],
    share: float | None,
    device_bytes: float,
) -> PoolMemory:
    """Raises ConfigError where the model does not fit its part."""
    need = replace(need, own_bytes=size.own_bytes(device_bytes))
    least = least_bytes(need)
    if need.weights_bytes and least > device_bytes:
        devices = sorted({replica.base_gpu_id for replica in replicas})
        of = "" if share is None else f", {share:g} of it"
        raise ConfigError(
            f"tier {need.name} lacks {(least - device_bytes) / 1e9:.1f} GB: a worker needs "
            f"{least / 1e9:.1f} GB of each device ({need.weights_bytes / 1e9:.1f} GB of weights), "
            f"device {', '.join(map(str, devices))} gives it {device_bytes / 1e9:.1f} GB{of}"
        )
    left_bytes = device_bytes - need.weights_bytes - need.own_bytes
    is_known = bool(need.kv_bytes and need.weights_bytes)
    return PoolMemory(
        name=need.name,
        replicas=replicas,
        share=share,
        device_bytes=device_bytes,
        weights_bytes=need.weights_bytes or None,
        kv_bytes=left_bytes if is_known else None,
        kv_tokens=int(left_bytes / need.kv_bytes) if need.kv_bytes and is_known else None,
    )


def _need(pool: PoolSpec, size: MemoryShape) -> Need:
    """Of one device of a worker; weights of 0 where nothing of the model is on this host."""
    folder = local_folder(pool.model_path)
    ranks = size.tp_size * size.pp_size
    sizes = {"tp_size": size.tp_size, "pp_size": size.pp_size}
    return Need(
        name=pool.name,
        count=1,
        weights_bytes=0.0 if folder is None else weight_bytes(folder, 2) / ranks,
        own_bytes=0.0,
        kv_bytes=None if folder is None else kv_bytes_of(folder, **sizes),
    )
