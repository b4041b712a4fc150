"""Shows a worker its own part of a shared device as if it were the whole device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from cascadia_sglang.messages import DeviceShare

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_GIB = 1 << 30


class DevicePart:
    """Lives in the worker's process. Everything is counted from its first look at a device."""

    def __init__(self, share: DeviceShare) -> None:
        self.share = share.share
        self._free_gib = share.free_bytes / _GIB
        self._first_look: dict[int, tuple[float, float]] = {}

    def available_gib(
        self,
        original: Callable[..., float],
        device: str,
        gpu_id: int,
        distributed: bool = False,
        empty_cache: bool = True,
        cpu_group: ProcessGroup | None = None,
    ) -> float:
        """The part less what this process has taken; with `distributed` the least of all ranks.

        Args:
            original: SGLang's function of the other arguments, which sees the whole device.
        """
        free_gib = original(device, gpu_id, empty_cache=empty_cache)
        held_gib = torch.get_device_module(device).memory_reserved(gpu_id) / _GIB
        begun_gib, begun_held_gib = self._first_look.setdefault(gpu_id, (free_gib, held_gib))
        # Another worker may give memory back meanwhile; what this one holds itself is known.
        used_gib = max(begun_gib - free_gib, held_gib - begun_held_gib)
        left_gib = self._free_gib - used_gib
        return least_of_ranks(left_gib, cpu_group) if distributed else left_gib


def least_of_ranks(gib: float, cpu_group: ProcessGroup | None) -> float:
    """The least of what the ranks of a group have; every rank calls it."""
    least = torch.tensor(gib, dtype=torch.float32)
    torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN, group=cpu_group)
    return float(least.item())
