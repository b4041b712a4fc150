"""AFTER hook on get_free_cpu_memory: what a worker measures is its own use of the host's memory.

Upstream: the memory that is free on the whole host, before and after a model is loaded; the
difference is taken for the model. The caller divides it by the number of memory nodes.
We need: the same without what other processes take or give back in between, as several workers
load at once: what was free at the first look, less what this process has taken since. A worker's
share is of what was free before any worker started, which then stands in for the first look.
"""

from collections.abc import Callable

import psutil
from sglang.srt.utils.common import get_cpu_ids_by_node

from cascadia_patches.spec import PatchSpec


def _build(host_free_bytes: int | None) -> Callable[[int], int]:
    process = psutil.Process()
    first_look: list[int] = []

    def without_others(free_bytes: int) -> int:
        own_bytes: int = process.memory_info().rss
        if not first_look:
            first_look.append((host_free_bytes or free_bytes) + own_bytes)
        left = first_look[0] - own_bytes
        # A share that was divided for this process is not one of a memory node.
        return left * len(get_cpu_ids_by_node()) if host_free_bytes else left

    return without_others


PATCH = PatchSpec(
    target="sglang.srt.utils.common.get_free_cpu_memory",
    hook_type="after",
    kind="function",
    parameters=(),
    build=_build,
    reason="workers that load at once would take one another's memory for their own model's",
    drop_when="SGLang sizes its pools on a CPU by what the process itself has taken",
)
