"""The alarm on features: silent where nothing changed, loud where answers are of another kind."""

import numpy as np
import pytest
from scipy.stats import chi2

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.feature_summary import summarise_features
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.watch.features import (
    LEAST_ANSWERS,
    LEAST_SCALE,
    SHRINKAGE,
    WINDOW,
    FeatureSummary,
    FeatureWatch,
)

F = len(FEATURES)
SAMPLES = 600


def draw(count: int, seed: int, shift: float = 0.0) -> FloatArray:
    """Features that hang together, and one that is nearly always 0."""
    rng = np.random.default_rng(seed)
    mixing_FF = np.random.default_rng(1).normal(size=(F, F))
    features_NF = rng.normal(size=(count, F)) @ mixing_FF + 5.0
    features_NF[:, FEATURES.index("truncated")] = rng.random(count) < 0.01
    features_NF[:, FEATURES.index("mean_entropy")] += shift
    return features_NF


def summary_of(features_NF: FloatArray) -> FeatureSummary:
    summary = summarise_features(features_NF)
    assert summary is not None
    return summary


def watch_of(features_NF: FloatArray) -> FeatureWatch:
    watch = FeatureWatch(summary_of(draw(SAMPLES, seed=99)))
    for features_F in features_NF:
        watch.add(features_F.tolist())
    return watch


def test_answers_of_the_same_kind_raise_no_alarm() -> None:
    """One look in a thousand may."""
    alarms = 0
    for seed in range(100):
        shift = watch_of(draw(LEAST_ANSWERS, seed)).shift()
        assert shift is not None
        alarms += shift.is_alarm
    assert alarms <= 2


def test_answers_of_another_kind_raise_an_alarm() -> None:
    for seed in range(50):
        shift = watch_of(draw(LEAST_ANSWERS, seed, shift=2.5)).shift()
        assert shift is not None
        assert shift.is_alarm, seed


def test_there_is_nothing_to_say_of_too_few_answers() -> None:
    answers = draw(LEAST_ANSWERS, 0)
    assert watch_of(answers[:-1]).shift() is None
    assert watch_of(answers).shift() is not None


def test_the_distance_is_that_of_the_last_answers_by_the_formula() -> None:
    answers = draw(WINDOW + 300, 5)
    summary = summary_of(draw(SAMPLES, seed=99))
    shift = watch_of(answers).shift()
    assert shift is not None
    assert shift.answers == WINDOW
    covariance_FF = np.array(summary.correlation) * np.outer(summary.scale, summary.scale)
    gap_F = answers[300:].mean(0) - np.array(summary.mean)
    weight = 1.0 / (1.0 / WINDOW + 1.0 / SAMPLES)
    expected = weight * gap_F @ np.linalg.inv(covariance_FF) @ gap_F
    assert shift.distance == pytest.approx(expected, rel=1e-6)


def test_the_limit_comes_near_that_of_known_covariances() -> None:
    few, many = (summary_of(draw(count, 3)).limit for count in (200, 20_000))
    assert few > many
    assert many == pytest.approx(chi2.isf(0.001, F), rel=0.01)


def test_a_feature_that_never_varied_counts_with_the_least_scale() -> None:
    features_NF = draw(SAMPLES, 0)
    constant = FEATURES.index("forced_share")
    features_NF[:, constant] = 0.0
    summary = summary_of(features_NF)
    assert summary.scale[constant] == LEAST_SCALE
    assert summary.correlation[constant][constant] == 1.0
    logprob, margin = FEATURES.index("mean_logprob"), FEATURES.index("mean_margin")
    plain = np.corrcoef(features_NF[:, logprob], features_NF[:, margin])[0, 1]
    assert summary.correlation[logprob][margin] == pytest.approx((1 - SHRINKAGE) * plain, abs=1e-5)


def test_weights_stand_for_repeated_answers() -> None:
    features_NF = draw(300, 4)
    repeats_N = np.random.default_rng(2).integers(1, 4, len(features_NF))
    repeated = summary_of(np.repeat(features_NF, repeats_N, axis=0))
    weighted = summarise_features(features_NF, repeats_N.astype(float), int(repeats_N.sum()))
    assert weighted is not None
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-5)
    assert (weighted.samples, weighted.limit) == (repeated.samples, repeated.limit)


def test_too_few_answers_have_no_summary() -> None:
    assert summarise_features(draw(5 * F - 1, 0)) is None
    assert summarise_features(draw(5 * F, 0)) is not None
    assert summarise_features(draw(500, 0), np.ones(500), 5 * F - 1) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": [0.0]}, "need 16 numbers each"),
        ({"correlation": [[1.0]] * F}, "need 16 numbers each"),
        ({"scale": [0.0] * F}, "must be positive"),
        ({"samples": F}, "samples more than 16"),
        ({"limit": 0.0}, "must be positive"),
        ({"correlation": np.ones((F, F)).tolist()}, "positive definite"),
        ({"correlation": np.triu(np.ones((F, F))).tolist()}, "symmetric"),
    ],
)
def test_a_summary_that_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    summary = summary_of(draw(SAMPLES, 0))
    fields = {name: getattr(summary, name) for name in FeatureSummary.__struct_fields__}
    with pytest.raises(ValueError, match=words):
        FeatureSummary(**{**fields, **change})
