"""AFTER hook on get_free_cpu_memory: what a worker measures is its own use of the host's memory.

Upstream: the memory that is free on the whole host, before and after a model is loaded; the
difference is taken for the model.
We need: the same without what other processes take or give back in between, as several workers
load at once: what was free at the first look, less what this process has taken since.
"""

from collections.abc import Callable

import psutil

from cascadia_patches.registry import PatchSpec


def _build(_: None) -> Callable[[int], int]:
    process = psutil.Process()
    first_look: list[int] = []

    def without_others(free_bytes: int) -> int:
        own_bytes: int = process.memory_info().rss
        if not first_look:
            first_look.append(free_bytes + own_bytes)
        return first_look[0] - own_bytes

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
