"""Running states of requests on the device: a step folded by slot, without leaving the device.

Shape legend: B rows, V vocabulary, N slots, S state columns.
"""

import torch
import triton
import triton.language as tl

from cascadia_kernels.combine import range_constants
from cascadia_kernels.device import check_runs_triton
from cascadia_kernels.fold_sampled import KeptLogits, check_step, step_arguments, step_values
from cascadia_kernels.row_statistics import RowStatistics

TAIL_WINDOW = 8

# Columns of a state, in order: those of the judge's states on the host.
STATE_COLUMNS = (
    "count",
    "sum_logprob",
    "sum_entropy",
    "sum_margin",
    "sum_self_certainty",
    "known",  # steps whose log-probability is exact
    "min_logprob",
    "min_margin",
    "min_self_certainty",
    "max_entropy",
    # The last log-probabilities, a ring (DeepConf's tail, arXiv 2508.15260).
    *(f"tail_{place}" for place in range(TAIL_WINDOW)),
    "forced",  # steps whose likeliest token a grammar did not allow; in nothing else
)

_FIRST_MINIMUM = tl.constexpr(STATE_COLUMNS.index("min_logprob"))
_MAXIMUM = tl.constexpr(STATE_COLUMNS.index("max_entropy"))
_TAIL = tl.constexpr(STATE_COLUMNS.index("tail_0"))
_FORCED = tl.constexpr(STATE_COLUMNS.index("forced"))
_TAIL_WINDOW = tl.constexpr(TAIL_WINDOW)
_COLUMNS = tl.constexpr(len(STATE_COLUMNS))
_PADDED_COLUMNS = tl.constexpr(32)


def fold_into_states(
    states_NS: torch.Tensor,
    slots_B: torch.Tensor,
    is_new_B: torch.Tensor,
    is_forced_B: torch.Tensor | None,
    statistics: RowStatistics,
    token_ids_B: torch.Tensor,
    probability_BV: torch.Tensor | None,
    temperature_B: torch.Tensor | None,
    kept: KeptLogits | None = None,
) -> None:
    """`fold_sampled`, folded into the states of the rows' slots in the same launch, in place.

    Sums are float64, as on the host: the states are those of folding the step values there, bit
    for bit.

    Args:
        states_NS: float64, S = len(STATE_COLUMNS), rows contiguous.
        slots_B: integer, a row's slot, without repeats; negative for a row that does not count.
        is_new_B: bool, the slot was taken over: its state begins empty.
        is_forced_B: bool, the step counts as forced and in nothing else; None for no row.
        statistics, token_ids_B, probability_BV, temperature_B, kept: as for `fold_sampled`.

    Raises:
        ValueError: if a shape or type does not match, or the tensors are on the CPU.
    """
    check_runs_triton("fold_into_states", states_NS)
    of_rows = (token_ids_B, temperature_B, slots_B, is_new_B, is_forced_B)
    check_step(statistics, probability_BV, kept, *of_rows)
    if states_NS.dtype != torch.float64 or states_NS.shape[1:] != (len(STATE_COLUMNS),):
        raise ValueError(
            f"fold_into_states takes float64 states [N, {len(STATE_COLUMNS)}], "
            f"got {states_NS.dtype} {list(states_NS.shape)}"
        )
    if len(token_ids_B):
        fold_into_states_kernel[(len(token_ids_B),)](
            *step_arguments(statistics, token_ids_B, probability_BV, temperature_B, kept),
            states_NS,
            states_NS.stride(0),
            slots_B,
            is_new_B,
            is_forced_B,
            **range_constants(statistics),
            num_warps=1,
        )


@triton.jit
def fold_into_states_kernel(
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
    states_ptr,
    states_stride,
    slots_ptr,
    is_new_ptr,
    is_forced_ptr,
    RANGES: tl.constexpr,
    PADDED: tl.constexpr,
    RANGE: tl.constexpr,
    PARTIALS_STRIDE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots_ptr + row).to(tl.int64)
    if slot < 0:
        return
    logprob, entropy, margin, certainty, known = step_values(
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
        row,
        RANGES,
        PADDED,
        RANGE,
        PARTIALS_STRIDE,
    )
    place = tl.arange(0, _PADDED_COLUMNS)
    in_state = place < _COLUMNS
    is_minimum = (place >= _FIRST_MINIMUM) & (place < _MAXIMUM)
    is_maximum = place == _MAXIMUM
    state_ptr = states_ptr + slot * states_stride + place
    state = tl.load(state_ptr, mask=in_state, other=0.0)
    empty = tl.where(is_minimum, float("inf"), tl.where(is_maximum, float("-inf"), 0.0))
    state = tl.where(tl.load(is_new_ptr + row) != 0, empty.to(tl.float64), state)
    count = tl.sum(tl.where(place == 0, state, 0.0), axis=0)

    of_sums = tl.where(place == 0, 1.0, 0.0)
    of_sums = tl.where((place == 1) | (place == _FIRST_MINIMUM), logprob, of_sums)
    of_sums = tl.where((place == 2) | is_maximum, entropy, of_sums)
    of_sums = tl.where((place == 3) | (place == _FIRST_MINIMUM + 1), margin, of_sums)
    of_sums = tl.where((place == 4) | (place == _FIRST_MINIMUM + 2), certainty, of_sums)
    value = tl.where(place == 5, known, of_sums).to(tl.float64)
    # A value that is NaN wins, as with NumPy's minimum and maximum.
    folded = tl.where(place < _FIRST_MINIMUM, state + value, state)
    folded = tl.where(is_minimum & ((value < state) | (value != value)), value, folded)
    folded = tl.where(is_maximum & ((value > state) | (value != value)), value, folded)
    tail = _TAIL + count.to(tl.int32) % _TAIL_WINDOW
    folded = tl.where(place == tail, logprob.to(tl.float64), folded)
    if is_forced_ptr is not None:
        is_forced = tl.load(is_forced_ptr + row) != 0
        folded = tl.where(is_forced, state + tl.where(place == _FORCED, 1.0, 0.0), folded)
    tl.store(state_ptr, folded, mask=in_state)
