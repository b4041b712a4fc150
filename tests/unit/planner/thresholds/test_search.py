"""The three ways to choose thresholds against every point of their grids."""

import itertools
import math

import msgspec
import pytest

from cascadia_sglang.errors import InfeasiblePlanError, PlanError
from cascadia_sglang.planner.deployment.plan_check import check_plan
from cascadia_sglang.planner.latency.curves import Curves
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.solve import solve
from cascadia_sglang.planner.thresholds.chebyshev import chebyshev, front
from cascadia_sglang.planner.thresholds.exact import minimise
from cascadia_sglang.planner.thresholds.grid import GridPoint, GridPoints, at_the_floor, penalised
from cascadia_sglang.planner.thresholds.penalty import PATIENCE, coordinate_search, first_position
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid
from tests.unit.planner.problems import best_by_enumeration
from tests.unit.planner.samples import curves, routing_problem


def points_of(problem: Problem, quantiles: int) -> GridPoints:
    sample = build_sample(problem.calibration)
    return GridPoints(Replay(sample, threshold_grid(sample, quantiles)), Curves(problem).deploy)


def all_points(points: GridPoints) -> list[GridPoint]:
    sides = (range(len(grid)) for grid in points.replay.grids)
    return [points.at(indices) for indices in itertools.product(*sides)]


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
@pytest.mark.parametrize(("tiers", "quantiles"), [(1, 9), (2, 33), (3, 9), (4, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_finds_the_best_of_the_grid_and_proves_it(
    objective: str, tiers: int, quantiles: int, seed: int
) -> None:
    problem = routing_problem(200, seed, tiers, objective=objective)
    value = at_the_floor(0.5 if tiers == 1 else 0.8)
    every = all_points(points_of(problem, quantiles))
    best = min(value(point.latency_s, point.quality) for point in every)
    points = points_of(problem, quantiles)
    proof = minimise(points, value)
    assert (proof.value, proof.bound) == (best, best)
    assert proof.point is None or value(proof.point.latency_s, proof.point.quality) == best
    assert points.deployments <= len(every)


def test_exact_that_is_stopped_keeps_a_bound_below_what_it_has() -> None:
    problem = routing_problem(400, objective="path")
    value = at_the_floor(0.85)
    best = minimise(points_of(problem, 33), value)
    bounds = []
    for boxes in (1, 20, best.boxes // 2):
        stopped = minimise(points_of(problem, 33), value, max_boxes=boxes)
        assert stopped.bound <= best.value <= stopped.value
        bounds.append(stopped.bound)
    assert bounds == sorted(bounds)
    assert bounds[0] < best.value


def test_latency_of_curves_is_that_of_enumeration() -> None:
    problem = routing_problem(50, objective="path", gpu_budget=8)
    deploy = Curves(problem).deploy
    for shares in ([1.0, 0.0, 0.0], [1.0, 0.4, 0.1], [1.0, 1.0, 1.0]):
        candidate = Curves(problem).candidate([], shares, 1.0)
        single = msgspec.structs.replace(problem, candidates=[candidate])
        deployed = deploy(shares)
        best = best_by_enumeration(single)
        assert (None if deployed is None else deployed.latency_s) == pytest.approx(best)


def test_a_curve_is_linear_between_its_pairs_and_ends_where_they_end() -> None:
    curve = {"1": [[0.2, 1.0], [0.4, 3.0]], "2": [[1.0, 2.0]]}
    problem = routing_problem(10, tiers=2, latency_by_share_s=[curve, curve])
    tables = Curves(problem).candidate([0.5], [0.3, 0.5], 1.0).latency_s
    assert tables == [{1: pytest.approx(2.0), 2: 2.0}, {2: 2.0}]
    assert Curves(problem).candidate([0.5], [0.1, 0.4], 1.0).latency_s[0][1] == 1.0


def test_the_papers_example_prefers_the_plan_at_the_floor() -> None:
    """mu 100, z1 - z2 0.2, floor 0.9: 11.0 s at 0.88 is worth 21.0; 11.4 s at 0.91, 11.4."""

    class Range:
        def quality_range(self) -> tuple[float, float]:
            return 0.75, 0.95

    value = penalised(Range(), 1.0, 0.9, 100.0)
    assert value(11.0, 0.88) == pytest.approx(21.0)
    assert value(11.4, 0.91) == pytest.approx(11.4)


def test_the_search_starts_where_tier_i_is_reached_by_one_in_i() -> None:
    points = points_of(routing_problem(2000), 21)
    shares = points.replay.shares(first_position(points.replay))
    assert shares == pytest.approx([1, 1 / 2, 1 / 3], abs=0.03)


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
def test_coordinate_search_ends_where_no_single_threshold_helps(objective: str) -> None:
    points = points_of(routing_problem(objective=objective), 21)
    start = first_position(points.replay)
    value = penalised(points, points.latency_s(start), 0.85, 100.0)
    optimum = coordinate_search(points, value, start)
    best = points.at(optimum.point.position)
    for axis, grid in enumerate(points.replay.grids):
        for index in range(len(grid)):
            other = points.at((*best.position[:axis], index, *best.position[axis + 1 :]))
            assert value(other.latency_s, other.quality) >= optimum.value
    assert optimum.value <= value(points.latency_s(start), points.replay.quality(start))
    assert optimum.rounds >= PATIENCE


def test_no_point_of_the_front_is_beaten_in_both() -> None:
    points = points_of(routing_problem(objective="path"), 9)
    drawn = front(points)
    assert len(drawn) > 3
    for point in drawn:
        for other in all_points(points):
            better = other.latency_s < point.latency_s and other.quality >= point.quality
            assert not better, (point, other)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_chebyshev_point_is_the_least_of_the_grid(weight: float) -> None:
    points = points_of(routing_problem(), 9)
    value = chebyshev(points, weight)
    assert minimise(points, value).value == min(
        value(point.latency_s, point.quality) for point in all_points(points)
    )


@pytest.mark.parametrize("method", ["penalty", "chebyshev", "exact"])
@pytest.mark.parametrize("objective", ["bottleneck", "path"])
def test_a_plan_keeps_the_floor_and_says_how_far_it_can_be_from_the_best(
    method: str, objective: str
) -> None:
    problem = routing_problem(objective=objective, routing={"method": method})
    plan, again = solve(problem), solve(problem)
    assert msgspec.structs.replace(again, solve_s=plan.solve_s) == plan
    assert plan.quality >= 0.85
    assert plan.search is not None
    assert plan.bound_s <= plan.objective_s
    assert plan.bound_s == pytest.approx(min(plan.objective_s, plan.search.best_s))
    candidate = Curves(problem).candidate(plan.thresholds, plan.shares, plan.quality)
    assert check_plan(msgspec.structs.replace(problem, candidates=[candidate]), plan) == []
    assert plan.status == ("optimal" if plan.gap == 0 else "feasible")
    if method == "exact":
        assert plan.gap == 0


def test_a_floor_that_no_thresholds_reach_says_what_they_reach() -> None:
    with pytest.raises(InfeasiblePlanError, match=r"quality_floor 1\.0 .* reach: at most 0\.9"):
        solve(routing_problem(quality_floor=1.0))


def test_a_floor_reached_without_enough_gpus_names_the_tier() -> None:
    with pytest.raises(InfeasiblePlanError, match=r"tier 't1' lacks \d+ GPUs") as caught:
        solve(routing_problem(gpu_budget=4, quality_floor=0.95, latency_by_share_s=curves(3, 16)))
    assert caught.value.tier == "t1"


def test_a_last_tier_no_better_than_the_first_is_told_so() -> None:
    same = [{"scores": [0.1 * k], "correct": [1, 1]} for k in range(10)]
    problem = routing_problem(tiers=2, calibration=same)
    assert solve(problem).quality == 1.0
    for method in ("penalty", "chebyshev"):
        routing = {"method": method}
        with pytest.raises(PlanError, match="a cascade does not pay"):
            solve(routing_problem(tiers=2, calibration=same, routing=routing))


def test_one_tier_has_no_threshold_to_choose() -> None:
    plan = solve(routing_problem(tiers=1, quality_floor=0.3))
    assert plan.thresholds == []
    assert math.isfinite(plan.objective_s)
