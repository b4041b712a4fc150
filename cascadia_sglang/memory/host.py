"""How the workers of a host without accelerators share its memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import ConfigError, WorkerError
from cascadia_sglang.memory.host_cpu import HOST_MEMORY_SHARE, has_bf16_instructions
from cascadia_sglang.memory.shares import Need, divided, first_short, least_bytes
from cascadia_sglang.memory.weights import kv_bytes_of, weight_bytes
from cascadia_sglang.models.local_files import local_folder
from cascadia_sglang.planner.speed.roofline import LEAST_KV_TOKENS

# What a process takes besides weights and key-value pool, until that pool is made: 0.12 GB were
# measured for models of 0.5 and 1.5 billion parameters.
OWN_BYTES = 0.35e9
_FP32_NAMES = ("float", "float32")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFlags:
    """SGLang flags of a pool's workers, on which their memory depends."""

    dtype: str = "auto"
    tp_size: int = 1
    pp_size: int = 1
    mem_fraction_static: float | None = None

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> HostFlags:
        """Of SGLang flags by name; what is not given is as SGLang has it."""
        names = ("dtype", "tp_size", "pp_size", "mem_fraction_static")
        return cls(**{name: flags[name] for name in names if flags.get(name) is not None})

    @property
    def served_bytes(self) -> int:
        """Of a floating-point parameter."""
        is_fp32 = self.dtype in _FP32_NAMES or (
            self.dtype == "auto" and not has_bf16_instructions()
        )
        return 4 if is_fp32 else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """What each worker of a host may take of its memory.

    Attributes:
        free_bytes: on the host before any worker started.
        needs: of the pools whose memory is divided here; the others have a flag of the operator.
        share_by_pool: of the free bytes, for weights, key-value pool and the rest of one process.
    """

    free_bytes: int
    needs: tuple[Need, ...]
    share_by_pool: dict[str, float]

    def free_of(self, pool: PoolSpec) -> int | None:
        """What a worker's share is of; None where the operator's flag counts, which it looks for
        itself."""
        return self.free_bytes if pool.name in self.share_by_pool else None

    def check_room(self, pool: PoolSpec) -> None:
        """Refuse a worker for which the host has no memory left now.

        Raises:
            WorkerError: says what it needs and what is free.
        """
        need = next((candidate for candidate in self.needs if candidate.name == pool.name), None)
        if need is None:
            return
        least, free = least_bytes(need), free_host_bytes()
        if least > free:
            raise WorkerError(
                f"tier {pool.name} cannot be started: it needs {least / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB of this host's memory are free"
            )


def host_memory(pools: Sequence[PoolSpec], flags: Mapping[str, HostFlags]) -> HostMemory:
    """Divide what is free on this host, before any worker starts.

    Twice the planned number may run while capacity moves. So key-value pools take half of
    `HOST_MEMORY_SHARE` of what the weights leave, unless that is too little to serve with.

    Args:
        flags: of each pool by name.

    Raises:
        ConfigError: if the weights do not fit; names the tier, what it needs and what there is.
    """
    free_bytes = free_host_bytes()
    static = {pool.name: flags[pool.name].mem_fraction_static for pool in pools}
    divide = [pool for pool in pools if static[pool.name] is None]
    configured_bytes = sum(
        pool.replicas * (static[pool.name] or 0.0) * free_bytes for pool in pools
    )
    needs = [_need(pool, flags[pool.name]) for pool in divide]
    if any(need is None for need in needs):
        logger.warning("a model is not on this host yet: its tiers share the memory evenly")
        even = HOST_MEMORY_SHARE / (2 * sum(pool.replicas + pool.standby for pool in pools))
        shares = {pool.name: even for pool in divide}
        return HostMemory(free_bytes=free_bytes, needs=(), share_by_pool=shares)
    return _by_weights(free_bytes, configured_bytes, [need for need in needs if need is not None])


def free_host_bytes() -> int:
    """What processes may still take of this host's memory, or of this container's."""
    free: int = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        # No container, or one without a limit.
        return free
    return min(free, max(0, limit - current))


def _by_weights(free_bytes: int, taken_bytes: float, needs: Sequence[Need]) -> HostMemory:
    room_bytes = free_bytes - taken_bytes
    short = first_short(needs, room_bytes)
    if short is not None:
        raise ConfigError(f"{short} of the {free_bytes / 1e9:.1f} GB that this host has free")
    least_pools = sum(need.count * LEAST_KV_TOKENS * (need.kv_bytes or 0.0) for need in needs)
    rest_bytes = room_bytes - sum(
        need.count * (need.weights_bytes + need.own_bytes) for need in needs
    )
    pools_bytes = max(least_pools, HOST_MEMORY_SHARE / 2 * rest_bytes)
    parts = divided(needs, pools_bytes)
    return HostMemory(
        free_bytes=free_bytes,
        needs=tuple(needs),
        share_by_pool={
            need.name: part / free_bytes for need, part in zip(needs, parts, strict=True)
        },
    )


def _need(pool: PoolSpec, flags: HostFlags) -> Need | None:
    """What the workers of a pool need; None where the model's files are not on this host."""
    folder = local_folder(pool.model_path)
    if folder is None:
        return None
    ranks = flags.tp_size * flags.pp_size
    return Need(
        name=pool.name,
        count=ranks * (pool.replicas + pool.standby),
        weights_bytes=weight_bytes(folder, flags.served_bytes) / ranks,
        own_bytes=OWN_BYTES,
        kv_bytes=kv_bytes_of(
            folder,
            served_bytes=flags.served_bytes,
            tp_size=flags.tp_size,
            pp_size=flags.pp_size,
        ),
    )
