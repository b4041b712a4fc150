"""The sampled token's log-probability and what else a step says, without the logits.

Shape legend: B rows, V vocabulary, N states, S state columns, D step values.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from cascadia_kernels.best_keys import BEST_PAIRS, NO_KEY, columns_of, logits_of
from cascadia_kernels.combine import combined_sums, load_keys, margin_of, row_summary
from cascadia_kernels.cpu import fold_sampled_cpu
from cascadia_kernels.device import runs_triton
from cascadia_kernels.row_statistics import PARTIALS_STRIDE, PLACES, RowStatistics

# Columns of the step values, in order.
STEP_VALUES = (
    "logprob",  # of the sampled token under the raw logits
    "entropy",
    "margin",
    "self_certainty",
    "known",  # 1 where the log-probability is exact, 0 where it is only an upper bound
)

_NO_KEY = tl.constexpr(NO_KEY)
_BEST_PAIRS = tl.constexpr(BEST_PAIRS)


def fold_sampled(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    unusable_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pack what one decoding step says about the token it chose, in one launch.

    The sampled token's raw log-probability comes from the 16 best pairs where the token is among
    them. Otherwise it follows from the probability that the sampler left in its buffer:
    log p_T = logit / T - logsumexp_T, so logit = T * (log p_T + logsumexp_T). Where neither is
    there (a token outside the best pairs and no probability), the least of the best pairs bounds
    it from above and `known` is 0.

    Args:
        statistics: of the same rows, taken before the sampler overwrote the logits.
        token_ids_B: sampled ids, any integer dtype.
        probability: the sampler's probabilities at the row's temperature and before any
            truncation: of the sampled token [B], or its whole buffer [B, V]; None where the
            sampler left none.
        temperature_B: as it was given to `row_statistics`; None for 1 throughout.
        unusable_B: bool, rows whose probability is not of these logits; None for no row.

    Returns:
        Step values, float32, [B, len(STEP_VALUES)], fresh memory of the caching allocator.

    Raises:
        ValueError: if a shape does not match.
    """
    check_step(statistics, probability, token_ids_B, temperature_B, unusable_B)
    if not runs_triton(statistics.partials_BSP):
        return _on_cpu(statistics, token_ids_B, probability, temperature_B, unusable_B)
    rows = len(token_ids_B)
    values_BD = torch.empty(rows, len(STEP_VALUES), dtype=torch.float32, device=token_ids_B.device)
    if rows:
        fold_sampled_kernel[(rows,)](
            *step_arguments(statistics, token_ids_B, probability, temperature_B, unusable_B),
            values_BD,
            **step_constants(statistics),
        )
    return values_BD


def check_step(
    statistics: RowStatistics,
    probability: torch.Tensor | None,
    *of_rows: torch.Tensor | None,
) -> None:
    """Refuse tensors that do not have the statistics' number of rows.

    Raises:
        ValueError: shows the shapes.
    """
    rows = statistics.partials_BSP.shape[0]
    for tensor in of_rows:
        if tensor is not None and tensor.shape != (rows,):
            raise ValueError(
                f"fold_sampled takes one entry a row for {rows} rows, got {list(tensor.shape)}"
            )
    allowed = ((rows,), (rows, statistics.columns))
    if probability is not None and tuple(probability.shape) not in allowed:
        raise ValueError(
            f"fold_sampled takes probabilities [{rows}] or [{rows}, {statistics.columns}], "
            f"got {list(probability.shape)}"
        )


def step_arguments(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    unusable_B: torch.Tensor | None,
) -> tuple[Any, ...]:
    """Arguments of `step_values` for a launch."""
    return (
        statistics.partials_BSP,
        statistics.keys_BSC,
        token_ids_B,
        token_ids_B.stride(0),
        probability,
        0 if probability is None else probability.stride(0),
        0 if probability is None or probability.ndim == 1 else probability.stride(1),
        temperature_B,
        0 if temperature_B is None else temperature_B.stride(0),
        unusable_B,
        statistics.columns,
    )


def step_constants(statistics: RowStatistics) -> dict[str, int]:
    """Constants of `step_values` for a launch."""
    ranges = statistics.partials_BSP.shape[1]
    return {
        "RANGES": ranges,
        "PADDED": triton.next_power_of_2(ranges),
        "PLACES": PLACES,
        "PARTIALS_STRIDE": PARTIALS_STRIDE,
        "KEPT": min(statistics.columns, BEST_PAIRS),
    }


def _on_cpu(
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    unusable_B: torch.Tensor | None,
) -> torch.Tensor:
    if probability is not None and probability.ndim == 2:
        probability = probability.gather(1, token_ids_B.to(torch.int64).unsqueeze(-1)).squeeze(-1)
    if probability is not None and unusable_B is not None:
        probability = probability.masked_fill(unusable_B, float("nan"))
    summary = row_summary(statistics, temperature_B)
    return fold_sampled_cpu(summary, token_ids_B, probability, temperature_B)


@triton.jit
def step_values(
    partials_ptr,
    keys_ptr,
    token_ids_ptr,
    token_ids_stride,
    probability_ptr,
    probability_stride_b,
    probability_stride_v,
    temperature_ptr,
    temperature_stride,
    unusable_ptr,
    columns,
    row,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    PLACES: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
    KEPT: tl.constexpr,
):
    """The step values of a row, in the order of STEP_VALUES."""
    logsumexp, tempered_logsumexp, entropy, _top1, certainty = combined_sums(
        partials_ptr, temperature_ptr, temperature_stride, row, RANGES, PADDED, PARTIALS_STRIDE
    )
    keys = load_keys(partials_ptr, keys_ptr, row, RANGES, PADDED, PLACES, PARTIALS_STRIDE)
    token = tl.load(token_ids_ptr + row * token_ids_stride).to(tl.int64)
    token_key = tl.max(tl.where(columns_of(keys) == token, keys, _NO_KEY), axis=0)
    better = tl.sum((keys > token_key).to(tl.int32), axis=0)
    known = ((token_key != _NO_KEY) & (better < _BEST_PAIRS)).to(tl.float32)
    logit = logits_of(token_key)
    if probability_ptr is not None:
        is_token = (token >= 0) & (token < columns)
        place = row * probability_stride_b + token * probability_stride_v
        probability = tl.load(probability_ptr + place, mask=is_token, other=0.0).to(tl.float32)
        if unusable_ptr is not None:
            probability = tl.where(tl.load(unusable_ptr + row) != 0, 0.0, probability)
        from_sampler = tl.log(probability) + tempered_logsumexp
        if temperature_ptr is not None:
            temperature = tl.load(temperature_ptr + row * temperature_stride).to(tl.float32)
            from_sampler = temperature * from_sampler
        # Neither NaN nor an infinity: the difference to itself is zero.
        is_usable = (known == 0.0) & (from_sampler - from_sampler == 0.0)
        logit = tl.where(is_usable, from_sampler, logit)
        known = tl.where(is_usable, 1.0, known)
    if known == 0.0:
        worst = tl.max(keys, axis=0)
        for _rank in range(1, KEPT):
            worst = tl.max(tl.where(keys < worst, keys, _NO_KEY), axis=0)
        logit = logits_of(worst)
    return logit - logsumexp, entropy, margin_of(keys), certainty, known


@triton.jit
def fold_sampled_kernel(
    partials_ptr,
    keys_ptr,
    token_ids_ptr,
    token_ids_stride,
    probability_ptr,
    probability_stride_b,
    probability_stride_v,
    temperature_ptr,
    temperature_stride,
    unusable_ptr,
    columns,
    values_ptr,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    PLACES: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
    KEPT: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logprob, entropy, margin, certainty, known = step_values(
        partials_ptr,
        keys_ptr,
        token_ids_ptr,
        token_ids_stride,
        probability_ptr,
        probability_stride_b,
        probability_stride_v,
        temperature_ptr,
        temperature_stride,
        unusable_ptr,
        columns,
        row,
        RANGES,
        PADDED,
        PLACES,
        PARTIALS_STRIDE,
        KEPT,
    )
    values_ptr += row * 5
    tl.store(values_ptr, logprob)
    tl.store(values_ptr + 1, entropy)
    tl.store(values_ptr + 2, margin)
    tl.store(values_ptr + 3, certainty)
    tl.store(values_ptr + 4, known)
