"""Histograms and reliability, against counting one by one."""

import random
from collections import deque
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from cascadia_sglang.judge.watch.drift import ScoreWatch
from cascadia_sglang.page.score_shapes import (
    BINS,
    histogram,
    reliability,
    score_shapes,
    wilson,
)
from cascadia_sglang.router.feedback.calibration_drift import TierWatch
from tests.unit.judge.judging import make_calibration


def watch_of(quantiles: list[float], samples: int) -> ScoreWatch:
    changes = {"score_quantiles": quantiles, "quantile_samples": samples}
    return ScoreWatch(msgspec.structs.replace(make_calibration(0, 0.0), **changes))


def test_every_score_is_in_one_bin() -> None:
    rng = random.Random(0)
    scores = [*(rng.random() for _ in range(500)), 0.0, 1.0]
    counts = histogram(scores)
    expected, _ = np.histogram(scores, BINS, (0.0, 1.0))
    assert counts == expected.tolist()


def test_reliability_is_the_share_of_agreements_of_each_bin() -> None:
    rng = random.Random(1)
    labelled = [(score := rng.random(), rng.random() < score) for _ in range(2_000)]
    bins = reliability(labelled)
    assert sum(each["answers"] for each in bins) == len(labelled)
    for each in bins:
        low = int(each["score"] * BINS) / BINS
        agreements = [agrees for score, agrees in labelled if low <= score < low + 1 / BINS]
        assert (each["answers"], each["agreed"]) == (len(agreements), sum(agreements))
        assert each["interval"][0] <= sum(agreements) / len(agreements) <= each["interval"][1]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_wilsons_interval_covers_the_rate_in_about_95_of_100_cases(share: float) -> None:
    rng, trials = np.random.default_rng(0), 60
    seen = rng.binomial(trials, share, 4_000) / trials
    covered = np.mean([low <= share <= high for low, high in (wilson(s, trials) for s in seen)])
    assert covered >= 0.92
    assert all(0.0 <= low <= high <= 1.0 for low, high in (wilson(s, trials) for s in seen))


def test_a_calibrations_shares_are_those_of_its_scores() -> None:
    rng = np.random.default_rng(2)
    scores_N = np.round(rng.beta(3, 1, 5_000), 6)
    quantiles = np.quantile(scores_N, np.linspace(0, 1, 101)).round(6).tolist()
    watch = watch_of(quantiles, 5_000)
    edges = [step / BINS for step in range(BINS + 1)]
    shares = watch.expected_shares(edges)
    exact, _ = np.histogram(scores_N, BINS, (0.0, 1.0))
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(np.array(shares) - exact / 5_000).max() < 0.01


def test_scores_that_are_all_one_are_in_the_last_bin() -> None:
    watch = watch_of([1.0] * 101, 50)
    assert watch.expected_shares([step / BINS for step in range(BINS + 1)]) == [0.0] * 19 + [1.0]


def test_after_a_new_calibration_only_its_own_scores_are_in_the_histogram() -> None:
    changes = {"score_quantiles": [step / 100 for step in range(101)], "quantile_samples": 500}
    watch = TierWatch(msgspec.structs.replace(make_calibration(0, 0.0), **changes))
    for score in (0.51, 0.52):
        watch.add(score, None)
    scoring: Any = SimpleNamespace(source=lambda _: SimpleNamespace(is_calibrated=True))
    shadow: Any = SimpleNamespace(labelled={})
    every = [deque([0.01, 0.02, 0.03, 0.51, 0.52]), deque[float]()]
    for watch_of, count in ((lambda _: watch, 2), (lambda _: None, 5)):
        [shape] = score_shapes(["small", "large"], every, scoring, watch_of, shadow)
        assert sum(shape["counts"]) == count
        assert shape["counts"][10] == 2
