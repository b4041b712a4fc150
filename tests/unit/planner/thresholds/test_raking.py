"""A live window as weights on a calibration sample."""

import math

import numpy as np
import pytest

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.thresholds.raking import fit_window


def _drawn(count: int, seed: int) -> dict[str, np.ndarray]:
    """Requests whose score falls with their length, as hard questions are long."""
    random = np.random.default_rng(seed)
    score = random.beta(3, 1, count)
    return {
        "entry_score": score,
        "input_tokens": np.rint(40 * (1.2 - score) * random.lognormal(0, 0.3, count)) + 1,
        "output_tokens": np.rint(20 * (1.1 - score) * random.lognormal(0, 0.3, count)) + 1,
    }


def _chosen(drawn, keep):
    return {name: values[keep] for name, values in drawn.items()}


def test_a_window_like_the_sample_weighs_every_prompt_alike():
    sample = _drawn(2000, 0)
    fit = fit_window(sample, sample)
    assert fit.weights_N == pytest.approx(np.ones(2000))
    assert fit.effective_size == pytest.approx(2000)
    assert fit.is_usable


def test_the_weighted_sample_has_the_windows_mean_of_what_was_not_matched():
    """Correctness hangs on the score; its mean over a harder window is found by the weights."""
    sample, live = _drawn(4000, 1), _drawn(40_000, 2)
    random = np.random.default_rng(3)
    harder = _chosen(live, random.random(40_000) < 1.2 - live["entry_score"])
    fit = fit_window(sample, harder)
    quality_N, quality_L = sample["entry_score"] ** 2, harder["entry_score"] ** 2
    before = abs(quality_N.mean() - quality_L.mean())
    after = abs(np.average(quality_N, weights=fit.weights_N) - quality_L.mean())
    assert before > 0.05
    assert after < 0.01
    assert fit.largest_gap < 1e-6
    assert 200 < fit.effective_size < 4000


def test_the_effective_size_is_kishs():
    sample, live = _drawn(500, 4), _drawn(5000, 5)
    fit = fit_window(sample, _chosen(live, live["entry_score"] < 0.8))
    weights = fit.weights_N
    assert fit.effective_size == pytest.approx(1 / ((weights / weights.sum()) ** 2).sum())
    assert (weights >= 0).all()


def test_below_200_effective_prompts_no_plan_rests_on_it():
    sample, live = _drawn(600, 6), _drawn(5000, 7)
    hard = _chosen(live, live["entry_score"] < np.quantile(sample["entry_score"], 0.1))
    fit = fit_window(sample, hard)
    assert fit.effective_size < 200
    assert not fit.is_usable


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda window: window.update(entry_score=[]), "the window is empty"),
        (lambda window: window.update(input_tokens=[1.0, math.nan]), r"input_tokens\[1\] is nan"),
        (lambda window: window.pop("output_tokens"), "the window has no output_tokens"),
    ],
)
def test_a_window_that_says_nothing_is_one_clear_line(spoil, says):
    window = dict(_drawn(100, 8))
    spoil(window)
    with pytest.raises(WorkloadError, match=says):
        fit_window(_drawn(300, 9), window)
