"""Bounds on quality against SciPy's, and how often they hold."""

import msgspec
import numpy as np
import pytest
from scipy import stats

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.certificate import halves, mean_lower_bound, rows_needed
from cascadia_sglang.planner.replay import build_sample
from cascadia_sglang.planner.solve import solve
from tests.unit.planner.samples import routing_problem, rows


def bound_of(right: int, number: int, confidence: float = 0.95) -> float:
    values_N = np.array([1.0] * right + [0.0] * (number - right))
    return mean_lower_bound(values_N, np.ones(number), confidence)


@pytest.mark.parametrize(("right", "number"), [(0, 7), (1, 1), (7, 7), (90, 100), (4900, 5000)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_right_answers_have_the_exact_bound(right: int, number: int, confidence: float) -> None:
    exact = stats.binomtest(right, number, alternative="greater").proportion_ci(confidence)
    assert bound_of(right, number, confidence) == pytest.approx(exact.low, abs=1e-9)
    assert bound_of(right, number, confidence) <= exact.low + 1e-12


def test_no_rows_promise_nothing() -> None:
    assert mean_lower_bound(np.empty(0), np.empty(0), 0.95) == 0.0


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.99])
def test_as_many_rows_are_needed_as_certify_without_a_wrong_answer(floor: float) -> None:
    needed = rows_needed(floor, 0.95)
    assert bound_of(needed, needed) >= floor > bound_of(needed - 1, needed - 1)


@pytest.mark.parametrize("kind", ["binary", "graded", "weighted"])
def test_the_bound_fails_no_more_often_than_it_says(kind: str) -> None:
    """500 samples of 60 rows with a known mean; 5 percent may fail, plus chance."""
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(500):
        values_N = (rng.random(60) < 0.8).astype(float)
        weight_N = np.ones(60)
        if kind == "graded":
            values_N = rng.beta(8, 2, size=60)
        if kind == "weighted":
            weight_N = rng.random(60)
        failures += mean_lower_bound(values_N, weight_N, 0.95) > 0.8
    assert failures <= 500 * 0.05 + 3 * np.sqrt(500 * 0.05 * 0.95)


def test_halves_share_no_row_and_lose_none() -> None:
    sample = build_sample(rows(101, seed=0))
    first, second = halves(sample, seed=3)
    assert sorted([*first, *second]) == list(range(101))
    assert len(first) == 51
    assert not np.array_equal(halves(sample, seed=4)[0], first)


def test_equal_prompts_are_in_one_half() -> None:
    repeated = [
        msgspec.structs.replace(row, prompt=f"p{index % 20}" if index < 60 else None)
        for index, row in enumerate(rows(100, seed=0))
    ]
    sample = build_sample(repeated)
    first, second = halves(sample, seed=3)
    assert sorted([*first, *second]) == list(range(100))
    assert not set(sample.prompt_N[first]) & set(sample.prompt_N[second])
    assert len(set(sample.prompt_N[first])) == 30


@pytest.mark.parametrize("method", ["penalty", "chebyshev", "exact"])
def test_a_certified_plan_holds_its_floor_on_rows_that_chose_nothing(method: str) -> None:
    settings = {"method": method, "confidence": 0.95}
    plan = solve(routing_problem(1200, routing=settings))
    assert plan.certificate is not None
    assert plan.certificate.lower_bound >= 0.85
    assert plan.certificate.rows == 600
    assert plan.quality == plan.certificate.quality >= plan.certificate.lower_bound
    fresh = build_sample(rows(20_000, seed=77))
    quality = float(fresh.answered(plan.thresholds).mean())
    assert quality >= 0.85


def test_a_sample_too_small_promises_nothing_and_says_how_many_rows_it_takes() -> None:
    with pytest.raises(InfeasiblePlanError, match="even without a wrong answer 29 are needed"):
        solve(routing_problem(20, quality_floor=0.9, routing={"confidence": 0.95}))


def test_a_sample_large_enough_that_is_not_good_enough_is_told_so() -> None:
    problem = routing_problem(300, quality_floor=0.95, routing={"confidence": 0.999})
    with pytest.raises(
        InfeasiblePlanError,
        match=r"not shown with this sample: about .*; 150 rows were left to certify$",
    ):
        solve(problem)


def test_a_single_row_certifies_nothing() -> None:
    with pytest.raises(InfeasiblePlanError, match="0 rows were left to certify"):
        solve(routing_problem(1, seed=2, quality_floor=0.5, routing={"confidence": 0.95}))
