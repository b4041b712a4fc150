"""A row's numbers from the partials of its ranges, always in the same order.

Shape legend: B rows, S ranges of a row, P partial statistics, X summary values.
"""

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import runs_triton
from cascadia_kernels.layout import PARTIALS_STRIDE, RowStatistics
from cascadia_kernels.torch_forms import row_summary_torch

_LOG2E = tl.constexpr(1.4426950408889634)

SUMMARY_VALUES = (
    "logsumexp",
    "tempered_logsumexp",
    "entropy",
    "top1_logprob",
    "self_certainty",
    "margin",
)

_SUMMARY_VALUES = tl.constexpr(len(SUMMARY_VALUES))


class RowSummary(NamedTuple):
    """Statistics of the raw logits (temperature 1 unless said), one entry a row, float32.

    Columns at -inf have probability zero. A row that holds NaN or +inf, or nothing finite, is NaN
    in all but its margin and its best id.
    """

    logsumexp_B: torch.Tensor
    tempered_logsumexp_B: torch.Tensor  # of logits / temperature
    entropy_B: torch.Tensor  # nats, >= 0
    top1_logprob_B: torch.Tensor
    self_certainty_B: torch.Tensor  # >= 0, 0 for a uniform row (arXiv 2502.18581)
    margin_B: torch.Tensor  # best logit - second best, >= 0; +inf where only one column is finite
    best_ids_B: torch.Tensor  # int64, the column of the best logit; of equal logits the lowest


def row_summary(statistics: RowStatistics, temperature_B: torch.Tensor | None = None) -> RowSummary:
    """Named statistics of each row.

    A decoding step needs this op for rows under a grammar alone: `fold_sampled` combines the ranges
    by itself.

    Args:
        temperature_B: as it was given to `row_statistics`.

    Returns:
        Fresh memory; an empty batch gives empty tensors.
    """
    partials_BSP = statistics.partials_BSP
    rows = len(partials_BSP)
    if not runs_triton(partials_BSP):
        return RowSummary._make(row_summary_torch(partials_BSP[:, 0], temperature_B))
    device = partials_BSP.device
    values_BX = torch.empty(rows, len(SUMMARY_VALUES), dtype=torch.float32, device=device)
    best_ids_B = torch.empty(rows, dtype=torch.int64, device=device)
    if rows:
        row_summary_kernel[(rows,)](
            partials_BSP,
            temperature_B,
            0 if temperature_B is None else temperature_B.stride(0),
            values_BX,
            best_ids_B,
            **range_constants(statistics),
            num_warps=1,
        )
    return RowSummary._make((*values_BX.unbind(-1), best_ids_B))


def range_constants(statistics: RowStatistics) -> dict[str, int]:
    """Constants of `combined` for a launch."""
    return _range_constants(statistics.partials_BSP.shape[1], statistics.range_columns)


@functools.cache
def _range_constants(ranges: int, range_columns: int) -> dict[str, int]:
    return {
        "RANGES": ranges,
        "PADDED": triton.next_power_of_2(ranges),
        "RANGE": range_columns,
        "PARTIALS_STRIDE": PARTIALS_STRIDE,
    }


@triton.jit
def combined(
    partials_ptr,
    temperature_ptr,
    temperature_stride,
    row,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    RANGE: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    """A row's peak, its column and the second best logit; relative to the peak, the logarithms of
    the sums of exp(d) and of exp(d / temperature); entropy; self-certainty.
    """
    part = tl.arange(0, PADDED)
    in_row = part < RANGES
    part_ptr = partials_ptr + (row * RANGES + part) * PARTIALS_STRIDE
    peak = tl.load(part_ptr, mask=in_row, other=float("-inf"))
    total = tl.load(part_ptr + 1, mask=in_row, other=0.0)
    tempered = tl.load(part_ptr + 2, mask=in_row, other=0.0)
    weighted = tl.load(part_ptr + 3, mask=in_row, other=0.0)
    linear = tl.load(part_ptr + 4, mask=in_row, other=0.0)
    finite = tl.load(part_ptr + 5, mask=in_row, other=0.0)
    second = tl.load(part_ptr + 6, mask=in_row, other=float("-inf"))
    part_column = tl.load(part_ptr + 7, mask=in_row, other=0.0)
    rate = 1.0
    if temperature_ptr is not None:
        rate = 1.0 / tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)

    row_peak = tl.max(peak, axis=0)
    # Of ranges with the same peak the first has the lowest column.
    best_part = tl.min(tl.where(peak == row_peak, part, PADDED), axis=0)
    is_best = part == best_part
    row_second = tl.max(tl.where(is_best, second, peak), axis=0)
    row_place = tl.sum(tl.where(is_best, part_column, 0.0), axis=0).to(tl.int64)
    column = best_part.to(tl.int64) * RANGE + row_place

    base = tl.where(row_peak == float("-inf"), 0.0, row_peak)
    fall = tl.where(peak == float("-inf"), 0.0, peak - base)
    scale = tl.exp2(fall * _LOG2E)
    row_total = tl.sum(total * scale, axis=0)
    row_tempered = tl.sum(tempered * tl.exp2(fall * (rate * _LOG2E)), axis=0)
    row_weighted = tl.sum((weighted + fall * total) * scale, axis=0)
    row_linear = tl.sum(linear + fall * finite, axis=0)
    row_finite = tl.sum(finite, axis=0)
    # Nothing finite: no distribution, hence NaN.
    log_total = tl.log(tl.where(row_total == 0.0, float("nan"), row_total))
    log_tempered = tl.log(tl.where(row_total == 0.0, float("nan"), row_tempered))
    entropy = log_total - row_weighted / row_total
    certainty = log_total - row_linear / row_finite - tl.log(row_finite)
    return row_peak, column, row_second, log_total, log_tempered, entropy, certainty


@triton.jit
def row_summary_kernel(
    partials_ptr,
    temperature_ptr,
    temperature_stride,
    values_ptr,
    best_ids_ptr,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    RANGE: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    peak, column, second, log_total, log_tempered, entropy, certainty = combined(
        partials_ptr,
        temperature_ptr,
        temperature_stride,
        row,
        RANGES,
        PADDED,
        RANGE,
        PARTIALS_STRIDE,
    )
    tempered_peak = peak
    if temperature_ptr is not None:
        tempered_peak = peak / tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)
    values_ptr += row * _SUMMARY_VALUES
    tl.store(values_ptr, peak + log_total)
    tl.store(values_ptr + 1, tempered_peak + log_tempered)
    tl.store(values_ptr + 2, entropy)
    tl.store(values_ptr + 3, -log_total)
    tl.store(values_ptr + 4, certainty)
    tl.store(values_ptr + 5, peak - second)
    tl.store(best_ids_ptr + row, column)
