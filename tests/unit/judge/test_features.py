"""Features against formulas written from the answer itself, and the logit at its ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge import state
from cascadia_sglang.judge.features import (
    FEATURES,
    earlier_features,
    earlier_names,
    features,
    logit,
)
from cascadia_sglang.judge.state import empty_states
from tests.unit.judge.judging import fold_values

Step = tuple[float, float, float, float]

answers = st.lists(
    st.tuples(
        st.floats(-20.0, -1e-6), st.floats(0.0, 12.0), st.floats(0.0, 40.0), st.floats(0.0, 40.0)
    ),
    min_size=1,
    max_size=30,
)


def state_of(answer: list[Step]) -> FloatArray:
    """[1, S]"""
    states_NS = empty_states(1)
    for step in answer:
        fold_values(states_NS, [0], np.array([[*step, 1.0]]))
    return states_NS


def features_of(
    answer: list[Step],
    prompt_tokens: int = 10,
    truncated: bool = False,
    forced: int = 0,
) -> dict[str, float]:
    states_NS = state_of(answer)
    states_NS[:, state.FORCED] = forced
    row = features(states_NS, np.array([float(prompt_tokens)]), np.array([float(truncated)]))[0]
    return dict(zip(FEATURES, row.tolist(), strict=True))


def plain_logit(logprob: float) -> float:
    """Log-odds of a probability given by its logarithm, cut to 14 on either side."""
    if logprob >= 0.0:
        return 14.0
    return max(-14.0, min(14.0, logprob - math.log(-math.expm1(logprob))))


@given(answers)
def test_every_feature_follows_its_formula(answer: list[Step]) -> None:
    logprob, entropy, margin, certainty = (list(column) for column in zip(*answer, strict=True))
    count, tail = len(answer), logprob[-state.TAIL_WINDOW :]
    expected = {
        "mean_logprob": math.fsum(logprob) / count,
        "min_logprob": min(logprob),
        "sum_logprob": math.fsum(logprob),
        "sequence_logit": plain_logit(math.fsum(logprob)),
        "weakest_logit": plain_logit(min(logprob)),
        "tail_logprob": math.fsum(tail) / len(tail),
        "mean_entropy": math.fsum(entropy) / count,
        "max_entropy": max(entropy),
        "mean_margin": math.fsum(margin) / count,
        "min_margin": min(margin),
        "mean_self_certainty": math.fsum(certainty) / count,
        "min_self_certainty": min(certainty),
        "log_tokens": math.log(count),
        "log_prompt_tokens": math.log(11),
        "truncated": 0.0,
        "forced_share": 0.0,
    }
    assert features_of(answer) == pytest.approx(expected, rel=1e-9, abs=1e-9)


ONE_STEP: list[Step] = [(-1.0, 1.0, 1.0, 1.0)]


def test_a_truncated_answer_says_so() -> None:
    assert features_of(ONE_STEP, truncated=True)["truncated"] == 1.0


def test_forced_steps_count_as_length_and_as_a_share_and_in_no_mean() -> None:
    plain, forced = features_of(ONE_STEP * 3), features_of(ONE_STEP * 3, forced=5)
    assert forced.pop("forced_share") == 5 / 8
    assert forced.pop("log_tokens") == pytest.approx(math.log(8))
    assert forced == {name: plain[name] for name in forced}


def test_an_answer_with_no_free_step_says_nothing() -> None:
    row = features(empty_states(1), np.array([3.0]), np.array([0.0]))[0]
    assert np.isnan(row).all()


def test_earlier_tiers_count_by_log_odds_and_by_whether_they_are_unknown() -> None:
    scores_NJ = np.array([[0.9, math.nan], [0.0, 1.0], [0.5, 0.5]])
    columns_NE = earlier_features(scores_NJ)
    assert earlier_names(2) == ["tier_0_logit", "tier_0_unknown", "tier_1_logit", "tier_1_unknown"]
    np.testing.assert_allclose(
        columns_NE,
        [[math.log(9), 0.0, 0.0, 1.0], [-14.0, 0.0, 14.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        atol=1e-12,
    )


def test_without_earlier_tiers_there_are_no_columns() -> None:
    assert earlier_names(0) == []
    assert earlier_features(np.empty((3, 0))).shape == (3, 0)


@pytest.mark.parametrize(
    ("logprob", "expected"),
    [
        (0.0, 14.0),
        (-1e-12, 14.0),
        (-1e-5, math.log(1e5) - 0.5e-5),
        (math.log(0.5), 0.0),
        (-5.0, math.log(math.exp(-5.0) / (1 - math.exp(-5.0)))),
        (-100.0, -14.0),
        (-math.inf, -14.0),
    ],
    ids=["certain", "nearly-certain", "close-to-1", "even", "unlikely", "hopeless", "impossible"],
)
def test_the_log_odds_of_an_answer_keep_their_digits_and_are_cut_at_the_ends(
    logprob: float, expected: float
) -> None:
    features = features_of([(logprob, 1.0, 1.0, 1.0)])
    assert features["sequence_logit"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert features["weakest_logit"] == features["sequence_logit"]


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, -14.0), (1e-300, -14.0), (0.5, 0.0), (0.75, math.log(3)), (1.0, 14.0)],
)
def test_logit_is_cut_at_14_on_either_side(probability: float, expected: float) -> None:
    assert float(logit(probability)) == pytest.approx(expected, abs=1e-12)


def test_logit_of_nan_is_nan() -> None:
    assert math.isnan(float(logit(math.nan)))


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_logit_never_falls(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert float(logit(low)) <= float(logit(high))


def test_rows_of_a_batch_are_those_of_single_answers() -> None:
    long = [(-0.5, 2.0, 1.0, 3.0)] * 20
    states_NS = np.concatenate((state_of(ONE_STEP), state_of(long)))
    together = features(states_NS, np.array([10.0, 99.0]), np.array([0.0, 1.0]))
    assert together.shape == (2, len(FEATURES))
    assert together[0].tolist() == list(features_of(ONE_STEP).values())
    assert together[1].tolist() == list(features_of(long, 99, True).values())
