"""AROUND hook on get_available_gpu_memory: a worker that shares a device sees its own part alone.

Upstream: what is free on the device. `mem_fraction_static` is of what is free at the first look.
The key-value pool takes what is free after the model was loaded, less the rest.
We need: both of the worker's share, whatever the others on the device hold. That is the share less
what this process has taken since its first look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from cascadia_sglang.worker.device_part import DevicePart


def _build(part: DevicePart) -> Callable[..., float]:
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
    reason="workers that share a device would each take most of what is free on it",
    drop_when="SGLang takes a share of a device as an argument",
)
