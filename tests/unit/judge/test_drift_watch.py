"""The drift alarm: silent where nothing changed, loud where something did."""

import numpy as np
import pytest

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.calibration import SCORE_DIGITS, Calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.watch.drift import LEAST_SCORES, WINDOW, ScoreWatch, distance

PROBABILITIES = np.linspace(0.0, 1.0, 101)


def draw(count: int, seed: int, doubt: float = 1.0) -> FloatArray:
    """Scores as a judge gives them: many next to 1, some low. More of these with more doubt."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(6.0 - 3.0 * doubt, 5.0, count)
    return 1.0 / (1.0 + np.exp(-log_odds))


def quantiles_of(scores: FloatArray) -> list[float]:
    return np.quantile(scores, PROBABILITIES).round(SCORE_DIGITS).tolist()


def make_watch(reached: int | None = 5000) -> ScoreWatch:
    """Of a tier that this many of 20,000 fitted answers reached."""
    zeros = [0.0] * len(FEATURES)
    return ScoreWatch(
        Calibration(
            version=2 if reached is None else 3,
            features=list(FEATURES),
            mean=zeros,
            scale=[1.0] * len(FEATURES),
            weights=zeros,
            bias=0.0,
            prefix=[],
            samples=20_000,
            constrained_samples=0,
            score_quantiles=quantiles_of(draw(reached or 5000, seed=99)),
            report={},
            quantile_samples=reached,
        )
    )


def watch_of(scores: FloatArray, reached: int | None = 5000) -> ScoreWatch:
    watch = make_watch(reached)
    for score in scores.tolist():
        watch.add(score)
    return watch


def test_scores_of_the_calibrations_kind_raise_no_alarm() -> None:
    """One look in a thousand may; of these fifty none does."""
    for seed in range(50):
        drift = watch_of(draw(1000, seed)).drift()
        assert drift is not None
        assert not drift.is_alarm, seed


@pytest.mark.parametrize("doubt", [0.2, 1.6], ids=["surer", "less-sure"])
def test_scores_of_another_kind_raise_the_alarm(doubt: float) -> None:
    for seed in range(10):
        drift = watch_of(draw(1000, seed, doubt)).drift()
        assert drift is not None
        assert drift.is_alarm, seed


def test_too_few_scores_say_nothing() -> None:
    scores = draw(LEAST_SCORES, 0, doubt=3.0)
    assert watch_of(scores[:-1]).drift() is None
    assert watch_of(scores).drift() is not None


def test_the_limit_is_that_of_the_answers_that_reached_the_tier() -> None:
    """Not of all that fitted it: a later tier's quantiles are of far fewer."""
    scores = draw(1000, 0)
    few, many = watch_of(scores, 300).drift(), watch_of(scores, 5000).drift()
    assert few is not None
    assert many is not None
    # Smirnov's factor at 0.001 is 1.95; 1 / 100 lies between two quantiles.
    assert few.limit == pytest.approx(1.949 * (1 / 1000 + 1 / 300) ** 0.5 + 0.01, abs=1e-3)
    assert many.limit == pytest.approx(1.949 * (1 / 1000 + 1 / 5000) ** 0.5 + 0.01, abs=1e-3)


@pytest.mark.parametrize("reached", [None, 0], ids=["version-2", "nothing-reached-it"])
def test_quantiles_of_an_unknown_number_say_nothing(reached: int | None) -> None:
    assert watch_of(draw(1000, 0, doubt=3.0), reached).drift() is None


def test_only_the_last_scores_count() -> None:
    drift = watch_of(np.concatenate((np.full(500, 0.5), draw(WINDOW, 1)))).drift()
    assert drift is not None
    assert drift.scores == WINDOW
    assert not drift.is_alarm


def test_the_distance_is_the_largest_gap_on_a_fine_grid() -> None:
    """Without ties the functions can be compared wherever one likes."""
    rng = np.random.default_rng(5)
    quantiles_K = np.sort(rng.random(21))
    scores = rng.random(300).round(SCORE_DIGITS)
    grid = np.linspace(-0.01, 1.01, 400_001)
    expected = np.abs(
        np.interp(grid, quantiles_K, np.linspace(0, 1, 21), left=0.0, right=1.0)
        - np.searchsorted(np.sort(scores), grid, "right") / 300
    ).max()
    assert distance(quantiles_K, scores.tolist()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("quantiles", "scores", "expected"),
    [
        ([0.0, 1.0, 1.0], [1.0, 1.0], 0.5),
        ([1.0, 1.0, 1.0], [0.99999999], 0.0),
        ([0.0, 0.5, 0.5, 0.5, 1.0], [0.5], 0.25),
        ([0.2, 0.4], [0.5], 1.0),
        ([0.2, 0.4], [0.1], 1.0),
    ],
    ids=["a-jump-to-1", "next-to-1-is-1", "a-jump-within", "all-above", "all-below"],
)
def test_ties_and_ends_have_the_distance_one_works_out(
    quantiles: list[float], scores: list[float], expected: float
) -> None:
    assert distance(np.array(quantiles), scores) == pytest.approx(expected)
