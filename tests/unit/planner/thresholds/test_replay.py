"""A sample under thresholds against a loop over its rows, and bounds over boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.planner.problem.problem import CalibrationRow
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid
from tests.unit.planner.samples import rows


def row_by_row(rows: list[CalibrationRow], thresholds: list[float]) -> tuple[list[float], float]:
    """Shares and quality as a request would climb: score >= threshold accepts."""
    total = sum(row.weight for row in rows)
    reached = [0.0] * (len(thresholds) + 1)
    quality = 0.0
    for row in rows:
        tier = 0
        reached[0] += row.weight
        while tier < len(thresholds) and row.scores[tier] < thresholds[tier]:
            tier += 1
            reached[tier] += row.weight
        quality += row.weight * row.correct[tier]
    return [weight / total for weight in reached], quality / total


@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_shares_and_quality_are_those_of_a_request_that_climbs(
    seed: int, tiers: int, weighted: bool
) -> None:
    rng = np.random.default_rng(seed)
    drawn = [
        CalibrationRow(
            # Few values, so that scores meet thresholds exactly.
            scores=rng.integers(0, 5, tiers - 1).astype(float).__truediv__(4).tolist(),
            correct=rng.random(tiers).round(1).tolist(),
            weight=float(rng.integers(0, 3)) if weighted else 1.0,
        )
        for _ in range(12)
    ]
    drawn.append(CalibrationRow(scores=[0.5] * (tiers - 1), correct=[1.0] * tiers))
    sample = build_sample(drawn)
    replay = Replay(sample, threshold_grid(sample, 6))
    for indices in itertools.product(*(range(len(grid)) for grid in replay.grids)):
        shares, quality = row_by_row(drawn, replay.thresholds(indices))
        assert replay.shares(indices) == pytest.approx(shares)
        assert replay.quality(indices) == pytest.approx(quality)
        answered = sample.answered(replay.thresholds(indices))
        assert sample.mean(answered) == pytest.approx(quality)


@given(st.integers(0, 10**6), st.data())
def test_envelopes_hold_for_every_place_of_a_box(seed: int, data: st.DataObject) -> None:
    sample = build_sample(rows(30, seed))
    replay = Replay(sample, threshold_grid(sample, 7))
    sides = []
    for grid in replay.grids:
        first = data.draw(st.integers(0, len(grid) - 1))
        sides.append((first, data.draw(st.integers(first, len(grid) - 1))))
    low, high = zip(*sides, strict=True)
    most = replay.best_quality(low, high)
    for indices in itertools.product(*(range(a, b + 1) for a, b in sides)):
        assert replay.quality(indices) <= most + 1e-12
        assert np.all(np.array(replay.shares(low)) <= np.array(replay.shares(indices)) + 1e-12)


def test_a_grid_is_of_quantiles_between_accepting_all_and_1() -> None:
    sample = build_sample(rows(1000, seed=1))
    grid = threshold_grid(sample, 21)[0]
    assert (grid[0], grid[-1], len(grid)) == (0.0, 1.0, 21)
    assert np.mean(sample.scores_NS[:, 0] < grid[10]) == pytest.approx(0.5, abs=0.01)
    assert np.isin(grid[1:-1], sample.scores_NS[:, 0]).all()
