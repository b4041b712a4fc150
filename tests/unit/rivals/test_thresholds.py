"""A rival is given thresholds as good as its sample allows."""

import numpy as np
import pytest

from bench.rivals.fronts.thresholds import cheapest


def made(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of three tiers whose scores say something."""
    random = np.random.default_rng(seed)
    right_NT = random.random((count, 3)) < [0.6, 0.8, 0.95]
    return right_NT + random.normal(0.0, 0.4, (count, 3)), right_NT


def played(scores: np.ndarray, right: np.ndarray, thresholds: tuple[float, ...]) -> tuple:
    """Question by question: accuracy, and the mean number of visits to each tier."""
    correct, visits = [], np.zeros(3)
    for score, label in zip(scores, right, strict=True):
        for tier in range(3):
            visits[tier] += 1
            if tier == 2 or score[tier] >= thresholds[tier]:
                correct.append(label[tier])
                break
    return float(np.mean(correct)), visits / len(scores)


@pytest.mark.parametrize("seed", range(3))
def test_the_floor_is_kept_and_nothing_on_a_coarse_grid_is_cheaper(seed: int) -> None:
    scores, right = made(seed)
    costs = (1.0, 3.0, 9.0)
    floor = right[:, 2].mean() - 0.01
    thresholds = cheapest(scores, right, costs, floor)
    accuracy, visits = played(scores, right, thresholds)
    assert accuracy >= floor - 1e-12
    cost = float(visits @ costs)
    for first in np.quantile(scores[:, 0], np.linspace(0, 1, 64))[::8]:
        for second in np.quantile(scores[:, 1], np.linspace(0, 1, 64))[::8]:
            accuracy, visits = played(scores, right, (first, second))
            assert accuracy < floor or float(visits @ costs) >= cost - 1e-12


def test_a_first_tier_that_is_always_right_answers_everything() -> None:
    scores, right = made(0)
    right[:, 0] = True
    thresholds = cheapest(scores, right, (1.0, 3.0, 9.0), 0.95)
    assert played(scores, right, thresholds)[1].tolist() == [1.0, 0.0, 0.0]


def test_where_only_the_last_tier_is_right_everything_climbs() -> None:
    scores, right = made(0)
    right[:, :2] = False
    thresholds = cheapest(scores, right, (1.0, 3.0, 9.0), 1.0)
    accuracy, _ = played(scores, right, thresholds)
    assert accuracy == right[:, 2].mean()


def test_a_floor_that_nothing_reaches_gives_the_most_accurate() -> None:
    scores, right = made(1)
    best = cheapest(scores, right, (1.0, 3.0, 9.0), 1.0)
    accuracy, _ = played(scores, right, best)
    for floor in (0.9, 0.95, 0.98):
        other = cheapest(scores, right, (1.0, 3.0, 9.0), floor)
        assert played(scores, right, other)[0] <= accuracy


def test_a_router_pays_for_the_tier_it_picks_alone() -> None:
    scores, right = made(2)
    costs, floor = (1.0, 3.0, 9.0), right[:, 2].mean() - 0.02
    picked_thresholds = cheapest(scores, right, costs, floor, climbs_from_below=False)

    def paid(thresholds: tuple[float, ...]) -> tuple[float, float]:
        accuracy, visits = played(scores, right, thresholds)
        picked = visits - np.append(visits[1:], 0.0)
        return accuracy, float(picked @ costs)

    accuracy, cost = paid(picked_thresholds)
    assert accuracy >= floor - 1e-12
    for first in np.quantile(scores[:, 0], np.linspace(0, 1, 64))[::8]:
        for second in np.quantile(scores[:, 1], np.linspace(0, 1, 64))[::8]:
            accuracy, other_cost = paid((first, second))
            assert accuracy < floor or other_cost >= cost - 1e-12
