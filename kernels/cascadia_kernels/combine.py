"""A row's numbers from the partials of its ranges, always in the same order.

Shape legend: B rows, K = min(V, 16) best columns, S ranges of a row, P partial sums, C places for
the best keys of a range.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.best_keys import (
    BEST_PAIRS,
    NO_KEY,
    columns_of,
    logits_of,
    unpack_keys,
)
from cascadia_kernels.cpu import row_summary_cpu
from cascadia_kernels.device import runs_triton
from cascadia_kernels.row_statistics import PARTIALS_STRIDE, PLACES, RowStatistics

_NO_KEY = tl.constexpr(NO_KEY)
_LOG2E = tl.constexpr(1.4426950408889634)

SUMMARY_VALUES = (
    "logsumexp",
    "tempered_logsumexp",
    "entropy",
    "top1_logprob",
    "self_certainty",
    "margin",
)


class RowSummary(NamedTuple):
    """Statistics of the raw logits (temperature 1 unless said), one entry a row, float32.

    Columns at -inf have probability zero. A row that holds NaN or +inf, or nothing finite, is NaN
    in all but its margin and its best pairs.
    """

    logsumexp_B: torch.Tensor
    tempered_logsumexp_B: torch.Tensor  # of logits / temperature
    entropy_B: torch.Tensor  # nats, >= 0
    top1_logprob_B: torch.Tensor
    self_certainty_B: torch.Tensor  # >= 0, 0 for a uniform row (arXiv 2502.18581)
    margin_B: torch.Tensor  # best logit - second best, >= 0; +inf where only one column is finite
    best_ids_BK: torch.Tensor  # int64, best logit first, of equal logits the lower id
    best_logits_BK: torch.Tensor


def row_summary(statistics: RowStatistics, temperature_B: torch.Tensor | None = None) -> RowSummary:
    """Named statistics of each row.

    A decoding step does not need this op: `fold_sampled` combines the ranges by itself.

    Args:
        temperature_B: as it was given to `row_statistics`.

    Returns:
        Fresh memory; an empty batch gives empty tensors.
    """
    partials_BSP, keys_BSC, columns = statistics
    rows, ranges, _ = partials_BSP.shape
    kept = min(columns, BEST_PAIRS)
    if not runs_triton(partials_BSP):
        logits_BK, ids_BK = unpack_keys(keys_BSC[:, 0])
        values = row_summary_cpu(partials_BSP[:, 0], temperature_B)
        return RowSummary._make((*values, _margin(logits_BK), ids_BK, logits_BK))
    device = partials_BSP.device
    values_XB = torch.empty(len(SUMMARY_VALUES), rows, dtype=torch.float32, device=device)
    ids_BK = torch.empty(rows, kept, dtype=torch.int64, device=device)
    logits_BK = torch.empty(rows, kept, dtype=torch.float32, device=device)
    if rows:
        row_summary_kernel[(rows,)](
            partials_BSP,
            keys_BSC,
            temperature_B,
            0 if temperature_B is None else temperature_B.stride(0),
            values_XB,
            ids_BK,
            logits_BK,
            rows,
            RANGES=ranges,
            PADDED=triton.next_power_of_2(ranges),
            PLACES=PLACES,
            PARTIALS_STRIDE=PARTIALS_STRIDE,
            KEPT=kept,
        )
    return RowSummary._make((*values_XB, ids_BK, logits_BK))


def _margin(logits_BK: torch.Tensor) -> torch.Tensor:
    if logits_BK.shape[1] == 1:
        return torch.full_like(logits_BK.select(1, 0), float("inf"))
    return logits_BK.select(1, 0) - logits_BK.select(1, 1)


@triton.jit
def load_keys(
    partials_ptr,
    keys_ptr,
    row,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    PLACES: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    """Best keys of all ranges of a row, flat, padded."""
    index = tl.arange(0, PADDED * PLACES)
    in_row = index < RANGES * PLACES
    kept_ptr = partials_ptr + (row * RANGES + index // PLACES) * PARTIALS_STRIDE + 6
    kept = tl.load(kept_ptr, mask=in_row, other=0.0)
    is_kept = in_row & ((index % PLACES).to(tl.float32) < kept)
    return tl.load(keys_ptr + row * (RANGES * PLACES) + index, mask=is_kept, other=_NO_KEY)


@triton.jit
def combined_sums(
    partials_ptr,
    temperature_ptr,
    temperature_stride,
    row,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    """Logsumexp, tempered logsumexp, entropy, top-1 log-probability, self-certainty."""
    part = tl.arange(0, PADDED)
    in_row = part < RANGES
    part_ptr = partials_ptr + (row * RANGES + part) * PARTIALS_STRIDE
    peak = tl.load(part_ptr, mask=in_row, other=float("-inf"))
    total = tl.load(part_ptr + 1, mask=in_row, other=0.0)
    tempered = tl.load(part_ptr + 2, mask=in_row, other=0.0)
    weighted = tl.load(part_ptr + 3, mask=in_row, other=0.0)
    linear = tl.load(part_ptr + 4, mask=in_row, other=0.0)
    finite = tl.load(part_ptr + 5, mask=in_row, other=0.0)
    rate = 1.0
    if temperature_ptr is not None:
        rate = 1.0 / tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)

    row_peak = tl.max(peak, axis=0)
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
    return (
        base + log_total,
        base * rate + log_tempered,
        log_total - row_weighted / row_total,
        -log_total,
        log_total - row_linear / row_finite - tl.log(row_finite),
    )


@triton.jit
def margin_of(keys):
    """Best logit less the second best, +inf where there is no second."""
    best = tl.max(keys, axis=0)
    second = tl.max(tl.where(keys < best, keys, _NO_KEY), axis=0)
    margin = logits_of(best) - logits_of(second)
    return tl.where(second == _NO_KEY, float("inf"), margin)


@triton.jit
def row_summary_kernel(
    partials_ptr,
    keys_ptr,
    temperature_ptr,
    temperature_stride,
    values_ptr,
    ids_ptr,
    logits_ptr,
    rows,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    PLACES: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
    KEPT: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logsumexp, tempered, entropy, top1, certainty = combined_sums(
        partials_ptr, temperature_ptr, temperature_stride, row, RANGES, PADDED, PARTIALS_STRIDE
    )
    keys = load_keys(partials_ptr, keys_ptr, row, RANGES, PADDED, PLACES, PARTIALS_STRIDE)
    values_ptr += row
    tl.store(values_ptr, logsumexp)
    tl.store(values_ptr + rows, tempered)
    tl.store(values_ptr + 2 * rows, entropy)
    tl.store(values_ptr + 3 * rows, top1)
    tl.store(values_ptr + 4 * rows, certainty)
    tl.store(values_ptr + 5 * rows, margin_of(keys))
    best = tl.max(keys, axis=0)
    for place in range(KEPT):
        tl.store(ids_ptr + row * KEPT + place, columns_of(best))
        tl.store(logits_ptr + row * KEPT + place, logits_of(best))
        best = tl.max(tl.where(keys < best, keys, _NO_KEY), axis=0)
