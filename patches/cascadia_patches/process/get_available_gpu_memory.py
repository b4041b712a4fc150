"""AROUND hook on get_available_gpu_memory: a worker sees its own part of the memory alone.

Upstream: what is free on the device, or on the whole host for a CPU. `mem_fraction_static` is of
what is free at the first look. The key-value pool takes what is free after the model was loaded,
less the rest.
We need: both of the worker's share, whatever other workers hold, take or give back. That is the
share less what this process has taken since its first look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from cascadia_sglang.worker.device_part import DevicePart
    from cascadia_sglang.worker.host_part import HostPart


def _build(part: DevicePart | HostPart) -> Callable[..., float]:
    def of_share(
        original: Callable[..., float],
        device: str,
        gpu_id: int,
        distributed: bool = False,
        empty_cache: bool = True,
        cpu_group: ProcessGroup | None = None,
    ) -> float:
        free_gib: float = part.available_gib(
            original, device, gpu_id, distributed, empty_cache, cpu_group
        )
        return free_gib

    return of_share


PATCH = PatchSpec(
    target="sglang.srt.utils.common.get_available_gpu_memory",
    hook_type="around",
    kind="function",
    parameters=("device", "gpu_id", "distributed", "empty_cache", "cpu_group"),
    build=_build,
    reason="workers that load at once, or share a device, would take one another's memory",
    drop_when="SGLang takes a share of the memory as an argument, and counts its own use alone",
)
