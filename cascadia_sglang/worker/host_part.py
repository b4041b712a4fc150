"""Shows a worker on a CPU its own use of the host's memory alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
from sglang.srt.utils.common import get_cpu_ids_by_node

from cascadia_sglang.worker.device_part import least_of_ranks

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_GIB = 1 << 30


class HostPart:
    """Lives in the worker's process. Everything is counted from its first look at the memory."""

    def __init__(self, free_bytes: int | None) -> None:
        """Take what was free before any worker started.

        Args:
            free_bytes: of which the worker's share is one; None where it looks for itself.
        """
        self._free_bytes = free_bytes
        self._process = psutil.Process()
        self._first_look_bytes: float | None = None

    def available_gib(
        self,
        original: Callable[..., float],
        device: str,
        gpu_id: int,
        distributed: bool = False,
        empty_cache: bool = True,
        cpu_group: ProcessGroup | None = None,
    ) -> float:
        """What was free at the first look, less what this process has taken since.

        SGLang divides what is free by the number of memory nodes. A share that was divided for
        this process is not one of a node.

        Args:
            original: SGLang's function of the other arguments, which sees the whole host.
        """
        if device != "cpu":
            return original(device, gpu_id, distributed, empty_cache, cpu_group)
        nodes = len(get_cpu_ids_by_node())
        own_bytes: int = self._process.memory_info().rss
        if self._first_look_bytes is None:
            free_bytes = original(device, gpu_id, empty_cache=empty_cache) * _GIB * nodes
            self._first_look_bytes = (self._free_bytes or free_bytes) + own_bytes
        left_gib = (self._first_look_bytes - own_bytes) / _GIB
        if self._free_bytes is None:
            left_gib /= nodes
        return least_of_ranks(left_gib, cpu_group) if distributed else left_gib
