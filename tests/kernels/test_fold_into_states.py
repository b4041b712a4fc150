"""fold_into_states: the states on the device are those of folding the step values on the host."""

import math

import pytest
import torch

from cascadia_kernels import STATE_COLUMNS, fold_into_states, fold_sampled, row_statistics
from cascadia_kernels.fold_into_states import TAIL_WINDOW
from cascadia_kernels.reference import reference_state
from cascadia_kernels.testing import make_logits

S = len(STATE_COLUMNS)
FORCED = STATE_COLUMNS.index("forced")


def new_states(count: int, device: torch.device) -> torch.Tensor:
    """States of slots that somebody used before."""
    return torch.full((count, S), 123.0, dtype=torch.float64, device=device)


def step(
    states_NS: torch.Tensor,
    slots: list[int],
    is_new: list[bool],
    seed: int,
    forced: list[bool] | None = None,
) -> torch.Tensor:
    """Fold a step and return its step values."""
    device = states_NS.device
    statistics = row_statistics(make_logits(len(slots), 40, seed=seed).to(device))
    generator = torch.Generator().manual_seed(seed)
    tokens_B = torch.randint(40, (len(slots),), generator=generator).to(device)
    fold_into_states(
        states_NS,
        torch.tensor(slots, device=device),
        torch.tensor(is_new, device=device),
        None if forced is None else torch.tensor(forced, device=device),
        statistics,
        tokens_B,
        None,
        None,
    )
    return fold_sampled(statistics, tokens_B, None, None)


def test_states_equal_the_fold_of_the_step_values_bit_for_bit(device: torch.device) -> None:
    """More steps than the tail holds; the rows' order changes; one slot is not touched."""
    states_NS = new_states(4, device)
    steps: dict[int, list[list[float]]] = {0: [], 3: []}
    for seed in range(TAIL_WINDOW + 2):
        slots = [3, 0] if seed % 2 else [0, 3]
        values = step(states_NS, slots, [seed == 0] * 2, seed)
        for row, slot in enumerate(slots):
            steps[slot].append(values[row].double().tolist())
    for slot, found in steps.items():
        expected = torch.tensor(reference_state(found, TAIL_WINDOW), dtype=torch.float64)
        assert torch.equal(states_NS[slot].cpu(), expected), slot
    assert torch.equal(states_NS[[1, 2]], new_states(2, device))


def test_a_slot_that_is_taken_over_begins_empty(device: torch.device) -> None:
    states_NS = new_states(1, device)
    step(states_NS, [0], [True], 1)
    step(states_NS, [0], [False], 2)
    values = step(states_NS, [0], [True], 3)
    expected = reference_state([values[0].double().tolist()], TAIL_WINDOW)
    assert states_NS[0].tolist() == expected


def test_a_row_without_a_slot_is_left_out(device: torch.device) -> None:
    states_NS = new_states(2, device)
    step(states_NS, [-1, 1], [True, True], 5)
    assert torch.equal(states_NS[0], new_states(1, device)[0])
    assert states_NS[1, 0] == 1.0


def test_a_forced_step_counts_as_forced_and_in_nothing_else(device: torch.device) -> None:
    states_NS = new_states(2, device)
    step(states_NS, [0, 1], [True, True], 1)
    before = states_NS.clone()
    step(states_NS, [0, 1], [False, False], 2, forced=[True, False])
    before[0, FORCED] += 1.0
    assert torch.equal(states_NS[0], before[0])
    assert states_NS[1, 0] == 2.0


def test_a_step_that_is_nan_makes_its_state_nan(device: torch.device) -> None:
    states_NS = new_states(1, device)
    step(states_NS, [0], [True], 1)
    logits_BV = torch.full((1, 40), math.nan, device=device)
    fold_into_states(
        states_NS,
        torch.zeros(1, dtype=torch.int64, device=device),
        torch.zeros(1, dtype=torch.bool, device=device),
        None,
        row_statistics(logits_BV),
        torch.zeros(1, dtype=torch.int64, device=device),
        None,
        None,
    )
    step(states_NS, [0], [False], 2)
    for name in ("sum_logprob", "sum_entropy", "min_logprob", "max_entropy"):
        assert states_NS[0, STATE_COLUMNS.index(name)].isnan(), name


@pytest.mark.parametrize(
    ("dtype", "width"), [(torch.float32, S), (torch.float64, S - 1)], ids=["float32", "narrow"]
)
def test_states_of_another_form_are_refused(
    dtype: torch.dtype, width: int, device: torch.device
) -> None:
    with pytest.raises(ValueError, match="takes float64 states"):
        step(torch.zeros(1, width, dtype=dtype, device=device), [0], [True], 1)
