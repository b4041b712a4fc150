"""The ceiling of a cascade against a count by hand."""

import numpy as np
import pytest

from bench.serving.ceiling import ceiling


def test_questions_stop_at_the_first_right_answer():
    best = ceiling(
        [
            [True, False, False, False],
            [True, True, False, False],
            [False, True, True, False],
        ],
        [8.0, 4.0, 1.0],
    )
    assert best.reach == [1.0, 0.75, 0.5]
    assert best.in_turn_per_s == pytest.approx(1 / (1 / 8 + 0.75 / 4 + 0.5 / 1))
    assert best.side_by_side_per_s == pytest.approx(2.0)
    assert best.accuracy == 0.75


def test_no_order_of_answers_beats_it():
    """Whatever a judge accepts, a question with a right last tier costs at least the ceiling's."""
    rng = np.random.default_rng(0)
    right_TN = rng.random((3, 200)) < np.array([[0.6], [0.8], [0.95]])
    rates = [9.0, 3.0, 1.0]
    best = ceiling(right_TN.tolist(), rates)
    seconds = 0.0
    for answers in right_TN.T:
        visited = next((tier for tier, is_right in enumerate(answers) if is_right), 2)
        seconds += sum(1 / rate for rate in rates[: visited + 1])
    assert best.in_turn_per_s == pytest.approx(200 / seconds)
