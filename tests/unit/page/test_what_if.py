"""What other thresholds would do, against answering every row by hand and drawing samples anew."""

import dataclasses

import numpy as np
import pytest

from cascadia_sglang.page.what_if import WhatIf, as_json, paired_difference, what_if
from cascadia_sglang.planner.online.weighted_sample import EntryWindow
from tests.unit.planner.online.test_weighted_sample import make_sample

NO_WINDOW = EntryWindow(scores=[], input_tokens=[], output_tokens=[], ended=0, threshold=0.5)


def window_of(scores: list[float]) -> EntryWindow:
    count = len(scores)
    return EntryWindow(
        scores=scores,
        input_tokens=[30] * count,
        output_tokens=[20] * count,
        ended=0,
        threshold=0.5,
    )


def by_hand(sample, thresholds, weights=None):
    """Quality and shares, row by row."""
    weights = [1.0] * len(sample.rows) if weights is None else weights
    right, reached = 0.0, np.zeros(len(sample.tiers))
    for row, weight in zip(sample.rows, weights, strict=True):
        tier = 0
        while tier < len(thresholds) and row.scores[tier] < thresholds[tier]:
            tier += 1
        right += weight * row.correct[tier]
        reached[: tier + 1] += weight
    return right / sum(weights), reached / sum(weights)


@pytest.mark.parametrize("tiers", [2, 3])
def test_both_choices_are_those_of_answering_row_by_row(tiers: int) -> None:
    sample = make_sample(tiers=tiers, count=700)
    now, then = [0.4] * (tiers - 1), [0.9] * (tiers - 1)
    cost = [1.0, 4.0, 16.0][:tiers]
    comparison = what_if(sample, NO_WINDOW, now, then, cost)
    for prediction, thresholds in ((comparison.now, now), (comparison.then, then)):
        quality, shares = by_hand(sample, thresholds)
        assert prediction.quality == pytest.approx(quality)
        assert prediction.shares == pytest.approx(shares.tolist())
        assert prediction.cost == pytest.approx(float(shares @ np.array(cost)))
        assert prediction.low < quality < prediction.high
    assert comparison.difference == pytest.approx(comparison.then.quality - comparison.now.quality)
    assert not comparison.is_weighted
    assert comparison.rows == comparison.effective_rows == 700


def test_a_window_of_hard_requests_lowers_the_quality_of_accepting_all() -> None:
    sample = make_sample(count=2_000)
    rng = np.random.default_rng(3)
    hard = what_if(sample, window_of((rng.random(500) ** 3).tolist()), [0.0], [0.9], [1.0, 5.0])
    plain = what_if(sample, NO_WINDOW, [0.0], [0.9], [1.0, 5.0])
    assert hard.is_weighted
    assert hard.window == 500
    assert hard.effective_rows < plain.effective_rows
    assert hard.now.quality < plain.now.quality - 0.1
    assert hard.then.shares[1] > plain.then.shares[1]


def test_a_window_that_is_too_small_does_not_weight() -> None:
    comparison = what_if(make_sample(count=300), window_of([0.1] * 20), [0.5], [0.5], [None, 1.0])
    assert not comparison.is_weighted
    assert comparison.window == 20
    assert comparison.difference == comparison.difference_low == comparison.difference_high == 0.0
    assert comparison.now.cost is None


def test_the_interval_of_the_difference_covers_the_true_one() -> None:
    """Samples drawn anew from one large sample, whose difference is the true one."""
    large = make_sample(count=40_000, seed=7).graded()
    rng = np.random.default_rng(0)
    true, _ = paired_difference(large.answered([0.8]), large.answered([0.3]), large)
    covered = 0
    for _ in range(300):
        drawn = large.rows(rng.integers(0, len(large.weight_N), 400))
        # Every row is a prompt of its own here.
        drawn = dataclasses.replace(drawn, prompt_N=np.arange(400))
        mean, spread = paired_difference(drawn.answered([0.8]), drawn.answered([0.3]), drawn)
        covered += mean - spread <= true <= mean + spread
    assert 0.92 <= covered / 300 <= 0.98


def test_equal_prompts_count_as_one_draw() -> None:
    sample = make_sample(count=400).graded()
    once = paired_difference(sample.answered([0.8]), sample.answered([0.3]), sample)
    twice = sample.rows(np.repeat(np.arange(400), 4))
    again = paired_difference(twice.answered([0.8]), twice.answered([0.3]), twice)
    assert again == pytest.approx(once)


def test_what_the_page_gets_has_rounded_numbers() -> None:
    comparison: WhatIf = what_if(make_sample(count=300), NO_WINDOW, [0.5], [0.6], [0.1, 0.3])
    written = as_json(comparison, [0.1, 0.3])
    assert written["then"]["thresholds"] == [0.6]
    assert written["attempt_s"] == [0.1, 0.3]
    assert len(written["difference_interval"]) == len(written["now"]["interval"]) == 2
