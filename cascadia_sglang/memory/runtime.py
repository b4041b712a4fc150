"""Memory that SGLang keeps free on a device, besides weights and key-value pool.

SGLang chooses the tokens of a prefill and the largest captured batch by the size of the device. It
leaves room for their activations and graphs (`srt/arg_groups/memory_hook.py`). A worker with a
share of a device is told the share's size, so the same holds of it. The numbers here are SGLang's
own, repeated because a cascade file can be checked without SGLang. They stand for a worker without
flags of its own.
"""

_MIB = 2**20
# CUDA's context, and what NCCL and libraries take, before SGLang looks at the memory; not measured.
CONTEXT_BYTES = 0.7e9
# Of a device below so many MiB: tokens of a prefill, captured prefills, and rows of the largest
# captured batch on fewer than four tensor-parallel ranks, and on four or more.
_CLASSES = (
    (20 * 1024, 2048, 42, 8, 8),
    (35 * 1024, 4096, 50, 48, 160),
    (60 * 1024, 4096, 50, 32, 160),
    (160 * 1024, 8192, 58, 256, 512),
    (float("inf"), 16384, 74, 512, 512),
)
_LARGE_MIB, _LARGE_RESERVE_MIB = 60 * 1024, 10 * 1024


def reserve_bytes(device_bytes: float, tp_size: int, pp_size: int) -> float:
    """What SGLang leaves free of so much memory, for activations and captured graphs."""
    size_mib = device_bytes / _MIB
    _, tokens, prefills, few_rows, many_rows = next(c for c in _CLASSES if size_mib < c[0])
    rows = few_rows if tp_size < 4 else many_rows
    reserve = 512 + 1.5 * tokens + tp_size * pp_size / 8 * 1024
    reserve += 2 * rows + 8 * prefills
    if size_mib > _LARGE_MIB:
        reserve = max(reserve, _LARGE_RESERVE_MIB)
    return reserve * _MIB
