"""The sampled token's log-probability and what else a step says, without the logits.

Shape legend: B rows, V vocabulary, D step values.
"""

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import runs_triton
from cascadia_kernels.layout import STEP_VALUES, KeptLogits, RowStatistics
from cascadia_kernels.row_summary import combined, range_constants
from cascadia_kernels.torch_forms import fold_sampled_torch

_STEP_VALUES = tl.constexpr(len(STEP_VALUES))


def fold_sampled(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability_BV: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    kept_logits: KeptLogits | None = None,
) -> torch.Tensor:
    """Pack what one decoding step says about the token it chose, in one launch.

    With d the token's raw logit less the row's best one, its log-probability is d - log_total.
    d is 0 for the row's best token, and a kept row has it. Otherwise it follows from the
    probability that the sampler left in its buffer: d = T * (log p_T + log tempered_total). Where
    there is none of these, the second best logit bounds it from above and `known` is 0.

    Args:
        statistics: of the same rows, taken before the sampler overwrote the logits.
        token_ids_B: sampled ids, any integer dtype.
        probability_BV: the sampler's buffer: probabilities at the row's temperature and before any
            truncation; None where it left none.
        temperature_B: as it was given to `row_statistics`; None for 1 throughout.
        kept_logits: rows whose probabilities are not of these logits; None for no row.

    Returns:
        Step values, float32, [B, len(STEP_VALUES)], fresh memory of the caching allocator.

    Raises:
        ValueError: if a shape does not match.
    """
    _check_shapes(statistics, token_ids_B, probability_BV, temperature_B, kept_logits)
    if not runs_triton(statistics.partials_BSP):
        return fold_sampled_torch(
            statistics.partials_BSP[:, 0], token_ids_B, probability_BV, temperature_B, kept_logits
        )
    rows = len(token_ids_B)
    values_BD = torch.empty(rows, len(STEP_VALUES), dtype=torch.float32, device=token_ids_B.device)
    if rows:
        fold_sampled_kernel[(rows,)](
            statistics.partials_BSP,
            token_ids_B,
            token_ids_B.stride(0),
            probability_BV,
            0 if probability_BV is None else probability_BV.stride(0),
            1 if probability_BV is None else probability_BV.stride(1),
            temperature_B,
            0 if temperature_B is None else temperature_B.stride(0),
            None if kept_logits is None else kept_logits.logits_CV,
            0 if kept_logits is None else kept_logits.logits_CV.stride(0),
            None if kept_logits is None else kept_logits.places_B,
            statistics.columns,
            values_BD,
            **range_constants(statistics),
            num_warps=1,
        )
    return values_BD


def _check_shapes(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability_BV: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    kept_logits: KeptLogits | None,
) -> None:
    """Refuse tensors that do not have the statistics' number of rows or columns.

    Raises:
        ValueError: shows the shapes.
    """
    rows, columns = len(statistics.partials_BSP), statistics.columns
    places_B = None if kept_logits is None else kept_logits.places_B
    for tensor in (token_ids_B, temperature_B, places_B):
        if tensor is not None and (tensor.ndim != 1 or len(tensor) != rows):
            raise ValueError(
                f"fold_sampled takes one entry a row for {rows} rows, got {list(tensor.shape)}"
            )
    if probability_BV is not None and probability_BV.shape != (rows, columns):
        raise ValueError(
            f"fold_sampled takes probabilities [{rows}, {columns}], "
            f"got {list(probability_BV.shape)}"
        )
    if kept_logits is not None and kept_logits.logits_CV.shape[1:] != (columns,):
        raise ValueError(
            f"fold_sampled takes kept logits [C, {columns}], "
            f"got {list(kept_logits.logits_CV.shape)}"
        )


@triton.jit
def fold_sampled_kernel(
    partials_ptr,
    token_ids_ptr,
    token_ids_stride,
    probability_ptr,
    probability_stride_b,
    probability_stride_v,
    temperature_ptr,
    temperature_stride,
    kept_ptr,
    kept_stride,
    places_ptr,
    columns,
    values_ptr,
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
    token = tl.load(token_ids_ptr + row * token_ids_stride).to(tl.int64)
    is_token = (token >= 0) & (token < columns)
    is_best = token == column
    is_known = is_best
    fall = second - peak
    is_kept = False
    if places_ptr is not None:
        kept_row = tl.load(places_ptr + row).to(tl.int64)
        is_kept = kept_row >= 0
        has_logit = is_kept & is_token
        x = tl.load(kept_ptr + kept_row * kept_stride + token, mask=has_logit, other=0.0)
        fall = tl.where(has_logit, x.to(tl.float32) - peak, fall)
        is_known = is_known | has_logit
    if probability_ptr is not None:
        has_probability = is_token & (is_kept == 0)
        at = row * probability_stride_b + token * probability_stride_v
        probability = tl.load(probability_ptr + at, mask=has_probability, other=0.0)
        from_sampler = tl.log(probability.to(tl.float32)) + log_tempered
        if temperature_ptr is not None:
            temperature = tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)
            from_sampler = temperature * from_sampler
        # Neither NaN nor an infinity: the difference to itself is zero.
        is_usable = has_probability & (from_sampler - from_sampler == 0.0)
        fall = tl.where(is_usable, from_sampler, fall)
        is_known = is_known | is_usable
    fall = tl.where(is_best, 0.0, fall)
    values_ptr += row * _STEP_VALUES
    tl.store(values_ptr, fall - log_total)
    tl.store(values_ptr + 1, entropy)
    tl.store(values_ptr + 2, peak - second)
    tl.store(values_ptr + 3, certainty)
    tl.store(values_ptr + 4, is_known.to(tl.float32))
