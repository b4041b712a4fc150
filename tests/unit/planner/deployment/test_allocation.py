"""The deployment level against enumeration, and what it says where there is no plan."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.columns import build_columns
from cascadia_sglang.planner.deployment.milp import solve_milp
from cascadia_sglang.planner.deployment.plan_check import check_plan
from cascadia_sglang.planner.problem.problem import Problem
from tests.unit.planner.problems import best_by_enumeration, problem_of, problems


@settings(max_examples=300)
@given(problems())
def test_a_plan_is_the_best_of_all(problem: Problem) -> None:
    best = best_by_enumeration(problem)
    if best is None:
        with pytest.raises(InfeasiblePlanError):
            allocate(problem)
        return
    plan = allocate(problem)
    assert plan.objective_s == pytest.approx(best, rel=1e-12)
    assert plan.gap == 0
    assert plan.status == "optimal"
    assert check_plan(problem, plan) == []


@settings(max_examples=100)
@given(problems())
def test_the_programme_alone_finds_the_same(problem: Problem) -> None:
    """Without the incumbent and without a column fixed."""
    best = best_by_enumeration(problem)
    floor = problem.quality_floor
    indices = [i for i, c in enumerate(problem.candidates) if floor is None or c.quality >= floor]
    columns, _ = build_columns(problem, indices)
    solution = solve_milp(columns, scale_s=1.0, start=None, time_limit_s=10)
    if best is None:
        assert solution.status == "infeasible"
        return
    assert solution.picks is not None
    assert columns.objective_s(solution.picks) == pytest.approx(best, rel=1e-6, abs=2e-6)
    assert solution.bound_s == pytest.approx(best, rel=1e-6, abs=2e-6)


@settings(max_examples=50)
@given(problems())
def test_two_runs_give_one_plan(problem: Problem) -> None:
    try:
        first, second = allocate(problem), allocate(problem)
    except InfeasiblePlanError:
        return
    assert msgspec.structs.replace(second, solve_s=first.solve_s) == first


TABLE = [{"1": 0.9, "2": 0.5}, {"4": 2.1, "6": 1.4}]


def example(**changes: object) -> Problem:
    candidate = {"thresholds": [0.7], "quality": 0.88, "shares": [1.0, 0.31], "latency_s": TABLE}
    data = {"gpu_budget": 8, "quality_floor": 0.85, "candidates": [candidate]}
    data["objective"] = "bottleneck"
    return problem_of(**{**data, "tiers": [{"name": "small"}, {"name": "large"}], **changes})


def test_the_example_takes_no_gpu_that_does_not_help() -> None:
    plan = allocate(example())
    assert (plan.allocation, plan.objective_s, plan.gap) == ([1, 6], 1.4, 0.0)


def test_the_path_counts_a_tier_by_its_share() -> None:
    plan = allocate(example(objective="path"))
    assert plan.allocation == [2, 6]
    assert plan.objective_s == pytest.approx(0.5 + 0.31 * 1.4)


def test_a_budget_too_small_names_the_tier_and_what_it_lacks() -> None:
    with pytest.raises(InfeasiblePlanError, match="tier 'large' lacks 2 GPUs") as caught:
        allocate(example(gpu_budget=3))
    assert (caught.value.tier, caught.value.lacks_gpus) == ("large", 2)


def test_a_floor_above_every_candidate_says_what_they_reach() -> None:
    with pytest.raises(InfeasiblePlanError, match=r"quality_floor 0\.9 .* at most 0\.88"):
        allocate(example(quality_floor=0.9))


def test_tiers_of_one_pool_share_their_gpus() -> None:
    tiers = [{"name": "brief", "pool": "workers"}, {"name": "thinking", "pool": "workers"}]
    tables = [{"2": 0.5, "4": 0.4}, {"2": 3.0, "4": 2.0, "8": 1.0}]
    candidate = {"thresholds": [0.5], "quality": 0.9, "shares": [1.0, 0.5], "latency_s": tables}
    plan = allocate(example(gpu_budget=4, tiers=tiers, candidates=[candidate]))
    assert plan.allocation == [4, 4]
    assert plan.objective_s == 2.0


def test_a_budget_beyond_every_table_costs_no_memory() -> None:
    assert allocate(example(gpu_budget=10**6)).objective_s == 1.4


@pytest.mark.parametrize("objective", ["bottleneck", "path"])
def test_latency_zero_is_a_latency(objective: str) -> None:
    candidate = {
        "thresholds": [0.7],
        "quality": 0.9,
        "shares": [1.0, 0.0],
        "latency_s": [{"1": 0.0}, {"1": 0.0}],
    }
    plan = allocate(example(objective=objective, candidates=[candidate]))
    assert (plan.objective_s, plan.bound_s, plan.gap) == (0.0, 0.0, 0.0)


@given(st.data(), problems())
def test_the_check_sees_a_plan_that_was_changed(data: st.DataObject, problem: Problem) -> None:
    try:
        plan = allocate(problem)
    except InfeasiblePlanError:
        return
    changes = [
        {"objective_s": plan.objective_s + 1},
        {"bound_s": plan.objective_s + 1},
        {"gap": plan.gap + 0.5},
        {"quality": plan.quality - 0.5},
        {"thresholds": [*plan.thresholds, 0.5]},
        {"allocation": [count + 11 for count in plan.allocation]},
        {"allocation": plan.allocation[1:]},
        {"candidate": len(problem.candidates)},
    ]
    change = data.draw(st.sampled_from(changes))
    assert check_plan(problem, msgspec.structs.replace(plan, **change)) != []


def test_columns_that_do_not_fit_the_budget_are_left_out() -> None:
    _, choices = build_columns(example(gpu_budget=5), [0])
    assert [choice.gpus for choice in choices] == [1, 2, 4]
