"""The number type of a host without accelerators, and its workers' share of memory."""

import functools
import platform

import llvmlite.binding

# Of the host's memory, for weights and key-value pools of all workers together.
HOST_MEMORY_SHARE = 0.5


@functools.cache
def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bf16 matrices itself; of an Arm CPU it is taken for granted."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-tile"))
