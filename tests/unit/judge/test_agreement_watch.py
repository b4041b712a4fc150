"""The alarm of shadowed answers: silent where nothing changed, loud where they agree less."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from cascadia_sglang.judge.watch.agreement import (
    LEAST_ANSWERS,
    WINDOW,
    Agreement,
    AgreementNow,
    AgreementWatch,
    fisher,
)

EXPECTED = Agreement(agreed=1940, answers=2000)


def state_of(count: int, share: float, seed: int, expected: Agreement | None) -> AgreementNow:
    watch = AgreementWatch(expected)
    for draw in np.random.default_rng(seed).random(count):
        watch.add(bool(draw < share))
    return watch.state()


@pytest.mark.parametrize(
    ("now", "expected"),
    [((90, 100), (1940, 2000)), ((100, 100), (1, 2)), ((0, 3), (5, 7)), ((3, 4), (0, 2))],
)
def test_the_p_value_is_the_hypergeometric_tail(
    now: tuple[int, int], expected: tuple[int, int]
) -> None:
    tail = hypergeom.cdf(now[0], now[1] + expected[1], now[0] + expected[0], now[1])
    p_value = fisher(*(Agreement(agreed=k, answers=n) for k, n in (now, expected)))
    assert p_value == pytest.approx(tail, rel=1e-9)


def test_answers_that_agree_as_before_raise_no_alarm() -> None:
    """One look in a thousand may; of these fifty none does."""
    assert not any(state_of(500, 0.97, seed, EXPECTED).is_alarm for seed in range(50))


def test_answers_that_agree_less_raise_it_and_more_do_not() -> None:
    for seed in range(10):
        assert state_of(500, 0.90, seed, EXPECTED).is_alarm
        assert not state_of(500, 1.0, seed, EXPECTED).is_alarm


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (LEAST_ANSWERS - 1, EXPECTED),
        (500, None),
        (500, Agreement(agreed=0, answers=0)),
    ],
    ids=["too-few", "not-told", "told-of-none"],
)
def test_without_enough_to_compare_there_is_no_p_value(
    count: int, expected: Agreement | None
) -> None:
    state = state_of(count, 0.1, 0, expected)
    assert state.p_value is None
    assert not state.is_alarm


def test_only_the_last_answers_count() -> None:
    watch = AgreementWatch(EXPECTED)
    for agrees in [False] * 300 + [True] * WINDOW:
        watch.add(agrees)
    assert watch.state().now == Agreement(agreed=WINDOW, answers=WINDOW)


def test_more_agreed_than_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to answers"):
        Agreement(agreed=3, answers=2)
