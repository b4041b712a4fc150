"""Which plans are simulated: thresholds at the floor, and the best by number of GPUs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint, frontier
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid
from cascadia_sglang.planner.whole.ladder import candidates, of_objective, rungs
from tests.unit.planner.samples import rows
from tests.unit.planner.whole_problems import flat_surface, made_shape, workload_problem

POINTS = [
    ThresholdPoint(thresholds=(0.3,), shares=(1.0, 0.2), quality=0.8),
    ThresholdPoint(thresholds=(0.5,), shares=(1.0, 0.6), quality=0.9),
]


def _latencies(gpus, objective="path"):
    cluster = [{"gpu": "H100", "nodes": 2, "gpus_per_node": 8}]
    problem = workload_problem(gpu_budget=gpus, objective=objective, cluster=cluster)
    surfaces = {
        "small": [
            (made_shape(1), [flat_surface(made_shape(1), 4.0, 1.0)]),
            (made_shape(2), [flat_surface(made_shape(2), 7.0, 0.6)]),
        ],
        "large": [
            (made_shape(2), [flat_surface(made_shape(2), 3.0, 3.0)]),
            (made_shape(4), [flat_surface(made_shape(4), 5.0, 1.7)]),
        ],
    }
    return ShapeLatencies(problem, surfaces, 6.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.5, 0.95), st.integers(3, 9))
def test_the_frontier_is_what_no_other_place_at_the_floor_undercuts(seed, tiers, floor, points):
    sample = build_sample(rows(60, seed, tiers))
    replay = Replay(sample, threshold_grid(sample, points))
    places = list(itertools.product(*(range(len(grid)) for grid in replay.grids)))
    reaching = {
        tuple(replay.shares(indices)) for indices in places if replay.quality(indices) >= floor
    }
    expected = {
        shares
        for shares in reaching
        if not any(
            other != shares and all(a <= b for a, b in zip(other, shares, strict=True))
            for other in reaching
        )
    }
    front = frontier(replay, floor)
    assert {point.shares for point in front} <= expected
    if len(expected) <= 64:
        assert {point.shares for point in front} == expected
    for point in front:
        assert point.quality >= floor
        assert sample.mean(sample.answered(point.thresholds)) == pytest.approx(point.quality)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4))
def test_qualities_along_the_last_tier_are_those_of_single_places(seed, tiers):
    sample = build_sample(rows(50, seed, tiers))
    replay = Replay(sample, threshold_grid(sample, 6))
    last = len(replay.grids[-1])
    for prefix in itertools.product(*(range(len(grid)) for grid in replay.grids[:-1])):
        qualities = [replay.quality((*prefix, index)) for index in range(last)]
        assert replay.last_qualities(prefix).tolist() == pytest.approx(qualities, abs=1e-12)


@pytest.mark.parametrize("objective", ["path", "bottleneck"])
def test_the_best_within_a_number_of_gpus_is_that_of_enumeration(objective):
    latencies = _latencies(14)
    ladder = of_objective(latencies, POINTS, objective)
    for gpus in range(15):
        objectives_s = [
            value_s for value_s, cost in _all_plans(latencies, objective, [1.0]) if cost <= gpus
        ]
        best = ladder.best(gpus)
        if not objectives_s:
            assert best is None
            continue
        assert best.surface_s == pytest.approx(min(objectives_s))
        assert best.gpus <= gpus
        assert all(candidate.gpus <= gpus for candidate in ladder.near(gpus))


@pytest.mark.parametrize("objective", ["path", "bottleneck"])
@pytest.mark.parametrize("prices", [{}, {"H100": 4.0, "H200": 2.5}])
@pytest.mark.parametrize("budget", [10, 16])
def test_the_best_of_several_types_within_a_cost_is_that_of_enumeration(objective, prices, budget):
    """10 GPUs are fewer than those of both types together, so the budget is a limit of its own."""
    latencies = _latencies_of_two_types(budget, prices)
    ladder = of_objective(latencies, POINTS, objective)
    price_R = [prices.get(name, 1.0) for name in ("H100", "H200")]
    plans = _all_plans(latencies, objective, price_R)
    costs = sorted({cost for _, cost in plans})
    assert len(costs) > 5
    for cost in costs:
        level = ladder.level_of(cost)
        best = ladder.best(level)
        assert best.surface_s == pytest.approx(
            min(value for value, price in plans if price <= cost)
        )
        for candidate in (best, *ladder.near(level)):
            assert candidate.gpus <= budget
            paid = sum(prices.get(pool.gpu, 1.0) * pool.gpus for pool in candidate.deployments)
            assert paid <= cost + 1e-9
    assert ladder.best(ladder.level_of(costs[0] - 0.1)) is None


def _latencies_of_two_types(budget, prices):
    cluster = [{"gpu": name, "nodes": 1, "gpus_per_node": 8} for name in ("H100", "H200")]
    problem = workload_problem(gpu_budget=budget, cluster=cluster, price_per_gpu_hour=prices)
    ways = {
        "small": [("H100", 1, 4.0, 1.0), ("H200", 1, 6.0, 0.8), ("H100", 2, 7.0, 0.6)],
        "large": [("H100", 2, 3.0, 3.0), ("H200", 2, 4.0, 2.2), ("H200", 4, 6.0, 1.5)],
    }
    surfaces = {
        pool: [
            (made_shape(tp, gpu), [flat_surface(made_shape(tp, gpu), rate, seconds)])
            for gpu, tp, rate, seconds in surfaces
        ]
        for pool, surfaces in ways.items()
    }
    return ShapeLatencies(problem, surfaces, 6.0)


def _all_plans(latencies, objective, price_R):
    """Value and cost of every plan within the budget."""
    plans = []
    for point in POINTS:
        columns, _ = latencies.with_objective(objective).deployments(point.shares)
        by_type_CR = columns.uses_CR[:, -len(price_R) :]
        for picks in itertools.product(
            *(np.flatnonzero(columns.pool_C == pool).tolist() for pool in range(2))
        ):
            chosen = list(picks)
            if (columns.uses_CR[chosen].sum(axis=0) <= columns.capacity_R).all():
                cost = float((by_type_CR[chosen] @ np.array(price_R)).sum())
                plans.append((columns.objective_s(picks), cost))
    return plans


def test_a_larger_budget_has_all_candidates_of_a_smaller_one():
    keys = []
    for gpus in range(6, 15):
        latencies = _latencies(gpus)
        ladders = [of_objective(latencies, POINTS, name) for name in ("path", "bottleneck")]
        plans = candidates(ladders, ladders[0], rungs(ladders))
        assert all(plan.gpus <= gpus for plan in plans)
        keys.append({plan.key for plan in plans})
    assert all(small <= large for small, large in itertools.pairwise(keys))
    assert len(keys[-1]) > len(keys[0])
