"""What rows of logits say of given tokens, where nobody has overwritten the logits.

The forward over tokens that are known before (a draft's, or a tree of drafts') leaves a row for
each. There a token's own logit is one more load.

Shape legend: B rows of logits, V vocabulary, D step values, R rows that have statistics.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import runs_triton
from cascadia_kernels.layout import STEP_VALUES, RowStatistics
from cascadia_kernels.row_summary import combined, range_constants
from cascadia_kernels.torch_forms import token_values_torch

_STEP_VALUES = tl.constexpr(len(STEP_VALUES))


class TokenValues(NamedTuple):
    """Step values of tokens, and what the model prefers in their place."""

    values_RD: torch.Tensor  # float32, in the order of STEP_VALUES
    preferred_R: torch.Tensor  # int64, the likeliest token, of equals the lowest id


def token_values(
    statistics: RowStatistics,
    logits_BV: torch.Tensor,
    token_ids_B: torch.Tensor,
    rows_R: torch.Tensor | None = None,
) -> TokenValues:
    """Exact step values of one token a row, in one launch.

    Args:
        statistics: of the rows, by `row_statistics` with the same `rows_R`.
        logits_BV: as `row_statistics` read them.
        token_ids_B: any integer dtype. An id outside the vocabulary has NaN in `logprob` and 0 in
            `known`.
        rows_R: as it was given to `row_statistics`. Where there is no row, all values are NaN,
            `known` is 0 and the likeliest token -1.

    Returns:
        Fresh memory of the caching allocator; no rows give empty tensors.

    Raises:
        ValueError: if a shape does not match.
    """
    rows = len(logits_BV) if rows_R is None else len(rows_R)
    if token_ids_B.shape != logits_BV.shape[:1] or len(statistics.partials_BSP) != rows:
        raise ValueError(
            f"token_values takes a token a row and statistics of {rows} rows, got "
            f"{list(token_ids_B.shape)} tokens and {len(statistics.partials_BSP)} statistics for "
            f"logits {list(logits_BV.shape)}"
        )
    partials_RSP = statistics.partials_BSP
    if not runs_triton(logits_BV):
        values = token_values_torch(partials_RSP[:, 0], logits_BV, token_ids_B, rows_R)
        return TokenValues(*values)
    device = logits_BV.device
    values_RD = torch.empty(rows, len(STEP_VALUES), dtype=torch.float32, device=device)
    preferred_R = torch.empty(rows, dtype=torch.int64, device=device)
    if rows:
        token_values_kernel[(rows,)](
            partials_RSP,
            logits_BV,
            logits_BV.stride(0),
            logits_BV.stride(1),
            token_ids_B,
            token_ids_B.stride(0),
            rows_R,
            0 if rows_R is None else rows_R.stride(0),
            statistics.columns,
            values_RD,
            preferred_R,
            **range_constants(statistics),
            num_warps=1,
        )
    return TokenValues(values_RD, preferred_R)


@triton.jit
def token_values_kernel(
    partials_ptr,
    logits_ptr,
    stride_b,
    stride_v,
    token_ids_ptr,
    token_ids_stride,
    rows_ptr,
    rows_stride,
    columns,
    values_ptr,
    preferred_ptr,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    RANGE: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64)
    values_ptr += position * _STEP_VALUES
    row = position
    if rows_ptr is not None:
        row = tl.load(rows_ptr + position * rows_stride).to(tl.int64)
        if row < 0:
            for column in tl.static_range(_STEP_VALUES - 1):
                tl.store(values_ptr + column, float("nan"))
            tl.store(values_ptr + _STEP_VALUES - 1, 0.0)
            tl.store(preferred_ptr + position, -1)
            return
    peak, column, second, log_total, _tempered, entropy, certainty = combined(
        partials_ptr, None, 0, position, RANGES, PADDED, RANGE, PARTIALS_STRIDE
    )
    token = tl.load(token_ids_ptr + row * token_ids_stride).to(tl.int64)
    is_token = (token >= 0) & (token < columns)
    at = row * stride_b + token * stride_v
    logit = tl.load(logits_ptr + at, mask=is_token, other=float("nan")).to(tl.float32)
    tl.store(values_ptr, logit - peak - log_total)
    tl.store(values_ptr + 1, entropy)
    tl.store(values_ptr + 2, peak - second)
    tl.store(values_ptr + 3, certainty)
    tl.store(values_ptr + 4, is_token.to(tl.float32))
    tl.store(preferred_ptr + position, column)
