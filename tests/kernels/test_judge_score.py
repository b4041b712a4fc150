"""judge_score: the calibrated score of states on the device."""

import math

import pytest
import torch

from cascadia_kernels import FEATURES, STATE_COLUMNS, judge_score
from cascadia_kernels.fold_into_states import TAIL_WINDOW
from cascadia_kernels.judge_score import LOGIT_LIMIT
from cascadia_kernels.reference import reference_score, reference_state

F = len(FEATURES)


def some_state(tokens: int, scale: float, forced: int = 0) -> list[float]:
    generator = torch.Generator().manual_seed(tokens)
    values = scale * torch.rand(tokens, 5, generator=generator, dtype=torch.float64)
    values[:, 0].neg_()
    state = reference_state(values.tolist(), TAIL_WINDOW)
    state[-1] = float(forced)
    return state


def scores(
    states: list[list[float]], weights: list[float], bias: float, device: torch.device
) -> list[float]:
    rows = len(states)
    found = judge_score(
        torch.tensor(states, dtype=torch.float64, device=device).reshape(rows, len(STATE_COLUMNS)),
        torch.arange(rows, device=device).flip(0),
        10 * torch.arange(rows, device=device).flip(0),
        torch.arange(rows, device=device).flip(0) % 2 == 1,
        torch.tensor(weights, dtype=torch.float64, device=device),
        torch.full((rows,), bias, dtype=torch.float64, device=device),
    )
    return list(reversed(found.tolist()))


# Sure (log-probabilities near zero), ordinary, hopeless, with forced steps, one token, no loss.
STATES = [some_state(5, 1e-9), some_state(20, 1.0), some_state(3, 40.0), some_state(9, 1.0, 4)]
STATES += [some_state(1, 0.5), some_state(2, 0.0)]


def test_scores_equal_the_float64_reference(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = (0.3 * torch.randn(F, generator=generator, dtype=torch.float64)).tolist()
    found = scores(STATES, weights, 0.2, device)
    for index, state in enumerate(STATES):
        expected = reference_score(
            state, 10 * index, index % 2 == 1, weights, 0.2, TAIL_WINDOW, LOGIT_LIMIT
        )
        assert found[index] == pytest.approx(expected, rel=1e-9, abs=1e-300), index


@pytest.mark.parametrize("feature", range(F), ids=list(FEATURES))
def test_every_feature_has_its_own_weight(feature: int, device: torch.device) -> None:
    weights = [0.1 if index == feature else 0.0 for index in range(F)]
    (found,) = scores([some_state(11, 1.0, 3)], weights, 0.0, device)
    expected = reference_score(
        some_state(11, 1.0, 3), 0, False, weights, 0.0, TAIL_WINDOW, LOGIT_LIMIT
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_state_that_is_empty_or_broken_has_no_score(device: torch.device) -> None:
    empty = [0.0] * 6 + [math.inf] * 3 + [-math.inf] + [0.0] * 9
    broken = some_state(4, 1.0)
    broken[1] = math.nan
    weights = [0.1] * F
    assert all(math.isnan(score) for score in scores([empty, broken], weights, 0.0, device))


def test_no_answer_has_no_score(device: torch.device) -> None:
    assert scores([], [0.0] * F, 0.0, device) == []


def test_weights_of_another_number_are_refused(device: torch.device) -> None:
    with pytest.raises(ValueError, match=f"takes {F} weights, got \\[{F - 1}\\]"):
        scores(STATES[:1], [0.0] * (F - 1), 0.0, device)
