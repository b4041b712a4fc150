"""A small network on the last hidden state: the probability that the answer is acceptable.

score = sigmoid(second · silu(first · norm(hidden) + first_bias) + second_bias)

Shape legend: B rows, H hidden size, U units of the inner layer, G groups of units.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cascadia_kernels.device import check_runs_triton

ROWS = 16  # of a program: the least that a tensor core takes
UNITS = 16  # of a program: a row's units are split by U alone
BLOCK = 64  # columns of H at a time
EPSILON = 1e-5

_EPSILON = tl.constexpr(EPSILON)


class ProbeWeights(NamedTuple):
    """Parameters of a probe, float32, contiguous."""

    norm_weight_H: torch.Tensor
    norm_bias_H: torch.Tensor
    first_HU: torch.Tensor
    first_bias_U: torch.Tensor
    second_U: torch.Tensor
    second_bias_1: torch.Tensor


def hidden_probe(hidden_BH: torch.Tensor, weights: ProbeWeights) -> torch.Tensor:
    """Probe each hidden state, in two launches. A row's score depends on that row alone.

    Args:
        hidden_BH: any float dtype, any row stride, columns contiguous.

    Returns:
        Scores in [0, 1], float32, [B], fresh memory; NaN where the hidden state is not finite.

    Raises:
        ValueError: if a shape does not match, or the tensors are on the CPU.
    """
    check_runs_triton("hidden_probe", hidden_BH)
    hidden, units = weights.first_HU.shape
    if hidden_BH.ndim != 2 or hidden_BH.shape[1] != hidden or hidden_BH.stride(1) != 1:
        raise ValueError(
            f"hidden_probe takes hidden states [B, {hidden}] with contiguous columns, "
            f"got {list(hidden_BH.shape)} with strides {list(hidden_BH.stride())}"
        )
    rows, groups = len(hidden_BH), -(-units // UNITS)
    sums_BG = torch.empty(rows, groups, dtype=torch.float32, device=hidden_BH.device)
    score_B = torch.empty(rows, dtype=torch.float32, device=hidden_BH.device)
    if rows:
        probe_units_kernel[(-(-rows // ROWS), groups)](
            hidden_BH,
            hidden_BH.stride(0),
            *weights[:5],
            sums_BG,
            rows,
            hidden,
            units,
            ROWS=ROWS,
            UNITS=UNITS,
            BLOCK=BLOCK,
        )
        probe_score_kernel[(rows,)](
            sums_BG,
            weights.second_bias_1,
            score_B,
            groups,
            PADDED=triton.next_power_of_2(groups),
            num_warps=1,
        )
    return score_B


# One variant whatever the number of rows: the first batch of another size compiles nothing.
@triton.jit(do_not_specialize=["rows"])
def probe_units_kernel(
    hidden_ptr,
    hidden_stride,
    norm_weight_ptr,
    norm_bias_ptr,
    first_ptr,
    first_bias_ptr,
    second_ptr,
    sums_ptr,
    rows,
    hidden,
    units,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    in_rows, in_units = row < rows, unit < units
    block = tl.arange(0, BLOCK)
    row_ptr = hidden_ptr + row.to(tl.int64)[:, None] * hidden_stride

    # Mean, then the variance about it: no cancellation. The second and third read hit the cache.
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for start in range(0, hidden, BLOCK):
        column = (start + block)[None, :]
        is_read = in_rows[:, None] & (column < hidden)
        total += tl.load(row_ptr + column, mask=is_read, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=1) / hidden
    squares = tl.zeros([ROWS, BLOCK], tl.float32)
    for start in range(0, hidden, BLOCK):
        column = (start + block)[None, :]
        is_read = in_rows[:, None] & (column < hidden)
        x = tl.load(row_ptr + column, mask=is_read, other=0.0).to(tl.float32)
        centred = tl.where(is_read, x - mean[:, None], 0.0)
        squares += centred * centred
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=1) / hidden + _EPSILON)

    inner = tl.zeros([ROWS, UNITS], tl.float32)
    for start in range(0, hidden, BLOCK):
        column = start + block
        in_hidden = column < hidden
        is_read = in_rows[:, None] & in_hidden[None, :]
        x = tl.load(row_ptr + column[None, :], mask=is_read, other=0.0).to(tl.float32)
        norm_weight = tl.load(norm_weight_ptr + column, mask=in_hidden, other=0.0)
        norm_bias = tl.load(norm_bias_ptr + column, mask=in_hidden, other=0.0)
        normed = (x - mean[:, None]) * scale[:, None] * norm_weight[None, :] + norm_bias[None, :]
        first = tl.load(
            first_ptr + column.to(tl.int64)[:, None] * units + unit[None, :],
            mask=in_hidden[:, None] & in_units[None, :],
            other=0.0,
        )
        inner = tl.dot(normed, first, inner, input_precision="ieee")
    inner += tl.load(first_bias_ptr + unit, mask=in_units, other=0.0)[None, :]
    active = inner / (1.0 + tl.exp(-inner))
    second = tl.load(second_ptr + unit, mask=in_units, other=0.0)
    sums = tl.sum(active * second[None, :], axis=1)
    groups = tl.num_programs(1)
    tl.store(sums_ptr + row.to(tl.int64) * groups + tl.program_id(1), sums, mask=in_rows)


@triton.jit
def probe_score_kernel(sums_ptr, second_bias_ptr, score_ptr, groups, PADDED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    group = tl.arange(0, PADDED)
    sums = tl.load(sums_ptr + row * groups + group, mask=group < groups, other=0.0)
    odds = tl.sum(sums, axis=0) + tl.load(second_bias_ptr)
    tl.store(score_ptr + row, 1.0 / (1.0 + tl.exp(-odds)))
