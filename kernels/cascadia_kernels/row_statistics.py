"""What one row of next-token logits says about the model's certainty, in one read of the row.

A row is split into ranges of columns; a program reads one range. The split depends on V alone, so
a row's numbers do not depend on the batch it is in.

Shape legend: B rows, V vocabulary, S ranges of a row, P partial statistics, R chosen rows.
"""

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import runs_triton
from cascadia_kernels.layout import PARTIALS_STRIDE, RowStatistics
from cascadia_kernels.torch_forms import row_statistics_torch
from cascadia_kernels.two_best import two_best


class Split(NamedTuple):
    """How rows are split over programs: columns of a program, a power of two, and its warps."""

    range_columns: int
    warps: int


# What a tuning run compares, by name. A shorter range gives a small batch more programs, and every
# program one more epilogue.
SPLITS = {
    f"{range_columns}x{warps}": Split(range_columns, warps)
    for range_columns in (4096, 8192, 16384)
    for warps in (4, 8)
}
DEFAULT_SPLIT = SPLITS["16384x4"]

THREAD_BYTES = 16  # of columns side by side that a thread loads at once
TILE = 4096  # columns of a program in flight: 16 KiB of float32
MOST_COLUMNS = 1 << 24  # a place in a range is kept as a float32, which is exact up to here

_LOG2E = tl.constexpr(1.4426950408889634)


def row_statistics(
    logits_BV: torch.Tensor,
    temperature_B: torch.Tensor | None = None,
    split: Split = DEFAULT_SPLIT,
    rows_R: torch.Tensor | None = None,
) -> RowStatistics:
    """Summarise each row of logits, in one launch that reads each logit once.

    A row's result depends on that row and the split alone, bit for bit, whatever B and the other
    rows are. On an accelerator this is a Triton kernel; on the CPU it is PyTorch, with one range a
    row.

    Args:
        logits_BV: any float dtype, any strides, not modified; V up to 2^24.
        temperature_B: > 0, the sampler's temperature for the row; None for 1 throughout.
        split: of the rows over programs.
        rows_R: the rows to summarise, in this order, any integer dtype; None for all. A negative
            number is no row: its statistics are not set, and nothing is read. Only without
            temperatures.

    Returns:
        Fresh memory of the caching allocator; an empty batch gives empty tensors.

    Raises:
        ValueError: if a shape does not match.
    """
    if logits_BV.ndim != 2 or not 0 < logits_BV.shape[1] <= MOST_COLUMNS:
        raise ValueError(
            f"row_statistics takes logits [B, V] with V from 1 to {MOST_COLUMNS}, "
            f"got {list(logits_BV.shape)}"
        )
    if temperature_B is not None and temperature_B.shape != logits_BV.shape[:1]:
        raise ValueError(
            f"row_statistics takes one temperature a row, got {list(temperature_B.shape)} "
            f"for logits {list(logits_BV.shape)}"
        )
    if rows_R is not None and (rows_R.ndim != 1 or temperature_B is not None):
        raise ValueError(
            f"row_statistics takes a list of rows without temperatures, got {list(rows_R.shape)}"
        )
    rows, columns = logits_BV.shape
    if rows_R is not None:
        rows = len(rows_R)
    if not runs_triton(logits_BV):
        chosen_RV = logits_BV if rows_R is None else logits_BV[rows_R.clamp(min=0).long()]
        return RowStatistics(row_statistics_torch(chosen_RV, temperature_B), columns, columns)
    ranges = -(-columns // split.range_columns)
    partials_BSP = torch.empty(
        rows, ranges, PARTIALS_STRIDE, dtype=torch.float32, device=logits_BV.device
    )
    if rows:
        row_statistics_kernel[(rows * ranges,)](
            logits_BV,
            logits_BV.stride(0),
            logits_BV.stride(1),
            temperature_B,
            0 if temperature_B is None else temperature_B.stride(0),
            rows_R,
            0 if rows_R is None else rows_R.stride(0),
            partials_BSP,
            columns,
            ranges,
            **launch_constants(logits_BV.dtype, split),
            num_warps=split.warps,
        )
    return RowStatistics(partials_BSP, columns, split.range_columns)


@functools.cache
def launch_constants(dtype: torch.dtype, split: Split = DEFAULT_SPLIT) -> dict[str, int]:
    """Constants of the kernel for logits of this type."""
    lanes = 32 * split.warps * THREAD_BYTES // dtype.itemsize
    return {
        "RANGE": split.range_columns,
        "LANES": lanes,
        "DEPTH": TILE // lanes,
        "PARTIALS_STRIDE": PARTIALS_STRIDE,
    }


@triton.jit
def row_statistics_kernel(
    logits_ptr,
    stride_b,
    stride_v,
    temperature_ptr,
    temperature_stride,
    rows_ptr,
    rows_stride,
    partials_ptr,
    columns,
    ranges,
    RANGE: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    row = program // ranges
    if rows_ptr is not None:
        row = tl.load(rows_ptr + row * rows_stride).to(tl.int64)
        if row < 0:
            return
    first = (program % ranges).to(tl.int32) * RANGE
    end = tl.minimum(first + RANGE, columns)
    row_ptr = logits_ptr + row * stride_b
    TEMPERED: tl.constexpr = temperature_ptr is not None
    rate = 1.0
    if TEMPERED:
        rate = 1.0 / tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)

    # Every lane keeps sums relative to its own peak so far: no thread waits for another here.
    # Whole tiles are read as if every logit were finite. An infinite one leaves its lane's linear
    # sum at -inf; then the range is read once more, with care.
    lane = tl.arange(0, LANES)
    offset = tl.arange(0, DEPTH)[:, None] * LANES + lane[None, :]
    TILE: tl.constexpr = DEPTH * LANES
    peak = tl.full([LANES], float("-inf"), tl.float32)
    total = tl.zeros([LANES], tl.float32)
    tempered = tl.zeros([LANES], tl.float32)
    weighted = tl.zeros([LANES], tl.float32)
    linear = tl.zeros([LANES], tl.float32)
    finite = tl.zeros([LANES], tl.int32)
    careful = first + (end - first) // TILE * TILE
    for start in range(first, careful, TILE):
        column = start + offset
        x = tl.load(row_ptr + column.to(tl.int64) * stride_v).to(tl.float32)
        peak, total, tempered, weighted, linear, finite = _with_tile(
            x, peak, total, tempered, weighted, linear, finite, rate, TEMPERED, False
        )
    if tl.min(linear, axis=0) == float("-inf"):
        careful = first
        peak = tl.full([LANES], float("-inf"), tl.float32)
        total = tl.zeros([LANES], tl.float32)
        tempered = tl.zeros([LANES], tl.float32)
        weighted = tl.zeros([LANES], tl.float32)
        linear = tl.zeros([LANES], tl.float32)
        finite = tl.zeros([LANES], tl.int32)
    for start in range(careful, end, TILE):
        column = start + offset
        x = tl.load(
            row_ptr + column.to(tl.int64) * stride_v, mask=column < end, other=float("-inf")
        ).to(tl.float32)
        peak, total, tempered, weighted, linear, finite = _with_tile(
            x, peak, total, tempered, weighted, linear, finite, rate, TEMPERED, True
        )

    # The lanes' sums, moved to the peak of the range.
    range_peak = tl.max(peak, axis=0)
    base = tl.where(range_peak == float("-inf"), 0.0, range_peak)
    fall = tl.where(peak == float("-inf"), 0.0, peak - base)
    total, tempered, weighted, linear = _moved(
        fall, rate, total, tempered, weighted, linear, finite, TEMPERED
    )
    if not TEMPERED:
        tempered = total
    # One reduction of four sums, which come out in the order of PARTIALS.
    sums = tl.sum(tl.join(tl.join(total, weighted), tl.join(tempered, linear)), axis=0)
    partials_ptr += program * PARTIALS_STRIDE
    index = tl.arange(0, 2)
    tl.store(partials_ptr + 1 + 2 * index[:, None] + index[None, :], sums)
    tl.store(partials_ptr, range_peak)
    best, second, finite_sum = two_best(
        peak, range_peak, finite, row_ptr, stride_v, first, end, RANGE, LANES
    )
    tl.store(partials_ptr + 5, finite_sum)
    tl.store(partials_ptr + 6, second)
    tl.store(partials_ptr + 7, (best - first).to(tl.float32))


@triton.jit
def _with_tile(
    x,
    peak,
    total,
    tempered,
    weighted,
    linear,
    finite,
    rate,
    TEMPERED: tl.constexpr,
    MAY_BE_INFINITE: tl.constexpr,
):
    """The lanes' peaks and sums with a tile of logits [DEPTH, LANES] added."""
    new_peak = tl.maximum(peak, tl.max(x, axis=0))
    base = tl.where(new_peak == float("-inf"), 0.0, new_peak)
    fall = tl.where(peak == float("-inf"), 0.0, peak - base)
    total, tempered, weighted, linear = _moved(
        fall, rate, total, tempered, weighted, linear, finite, TEMPERED
    )
    d = x - base[None, :]
    weight = tl.exp2(d * _LOG2E)
    if TEMPERED:
        tempered += tl.sum(tl.exp2(d * (rate * _LOG2E)), axis=0)
    if MAY_BE_INFINITE:
        is_finite = x != float("-inf")
        finite += tl.sum(is_finite.to(tl.int32), axis=0)
        d = tl.where(is_finite, d, 0.0)
    else:
        finite += x.shape[0]
    total += tl.sum(weight, axis=0)
    weighted += tl.sum(d * weight, axis=0)
    linear += tl.sum(d, axis=0)
    return new_peak, total, tempered, weighted, linear, finite


@triton.jit
def _moved(fall, rate, total, tempered, weighted, linear, finite, TEMPERED: tl.constexpr):
    """The sums relative to a peak that is higher by -fall."""
    scale = tl.exp2(fall * _LOG2E)
    weighted = (weighted + fall * total) * scale
    linear += fall * finite.to(tl.float32)
    total *= scale
    if TEMPERED:
        tempered *= tl.exp2(fall * (rate * _LOG2E))
    return total, tempered, weighted, linear
