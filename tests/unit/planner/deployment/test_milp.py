"""What HiGHS is told, and how it ends: options, limits, status."""

import random

import highspy
import pytest

from cascadia_sglang.errors import PlanError, PlanTimeoutError
from cascadia_sglang.planner.deployment import allocation, milp
from cascadia_sglang.planner.deployment.columns import build_columns
from tests.unit.planner.problems import problem_of


def two_types(tiers: int, options: int):
    """Many shapes on two types of GPU, none a multiple of another."""
    rng = random.Random(0)
    names = [f"t{index}" for index in range(tiers)]
    deployments = [
        {
            "pool": name,
            "gpu": gpu,
            "replicas": replicas,
            "latency_s": {name: rng.uniform(0.9, 1.1) * 10 / replicas},
        }
        for name in names
        for gpu in ("a", "b")
        for replicas in range(1, options + 1)
    ]
    candidate = {
        "thresholds": [0.5] * (tiers - 1),
        "quality": 0.9,
        "shares": [1.0] * tiers,
        "deployments": deployments,
    }
    nodes = {"nodes": options, "gpus_per_node": 4}
    return problem_of(
        gpu_budget=6 * options,
        objective="path",
        tiers=[{"name": name} for name in names],
        candidates=[candidate],
        cluster=[{"gpu": "a", **nodes}, {"gpu": "b", **nodes}],
    )


def test_a_misspelt_option_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(milp._OPTIONS, "mip_rel_gapp", 0.0)
    columns, _ = build_columns(two_types(1, 1), [0])
    with pytest.raises(PlanError, match="option mip_rel_gapp"):
        milp.solve_milp(columns, scale_s=1.0, start=None, time_limit_s=1)


def test_a_time_limit_below_zero_is_an_error() -> None:
    columns, _ = build_columns(two_types(1, 1), [0])
    with pytest.raises(PlanError, match="option time_limit"):
        milp.solve_milp(columns, scale_s=1.0, start=None, time_limit_s=-1.0)


def test_gaps_are_zero_and_the_solver_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    assert milp._OPTIONS["mip_rel_gap"] == milp._OPTIONS["mip_abs_gap"] == 0.0
    columns, _ = build_columns(two_types(2, 3), [0])
    assert milp.solve_milp(columns, scale_s=1.0, start=None, time_limit_s=9).status == "optimal"
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_limit_before_any_plan_is_told_so() -> None:
    """Two types and a budget over both are too many states for the dynamic programme."""
    with pytest.raises(PlanTimeoutError, match="no plan within 0"):
        allocation.allocate(two_types(4, 40), time_limit_s=0.0)


def test_a_limit_with_a_plan_gives_it_with_its_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The incumbent, here one replica a tier, stands, and the bound is the solver's."""
    problem = two_types(4, 40)
    monkeypatch.setattr(allocation, "best_picks", lambda *_: [0, 80, 160, 240])
    plan = allocation.allocate(problem, time_limit_s=0.0)
    assert plan.status == "time_limit"
    assert plan.allocation == [1, 1, 1, 1]
    assert 0 <= plan.bound_s < plan.objective_s
    assert plan.gap == pytest.approx(1 - plan.bound_s / plan.objective_s)


def test_an_infeasible_model_is_read_from_the_model_not_from_the_call() -> None:
    columns, _ = build_columns(two_types(2, 3), [0])
    columns.capacity_R[:] = 1
    assert milp.solve_milp(columns, scale_s=1.0, start=None, time_limit_s=9).status == "infeasible"


def test_the_model_reads_like_its_docstring() -> None:
    """One tier, two counts: a changed model is seen here, entry by entry."""
    problem = problem_of(
        gpu_budget=3,
        objective="bottleneck",
        tiers=[{"name": "only"}],
        candidates=[
            {"thresholds": [], "quality": 1, "shares": [1], "latency_s": [{"1": 4.0, "3": 2.0}]}
        ],
    )
    columns, _ = build_columns(problem, [0])
    lp = milp.build_model(columns, scale_s=2.0)
    assert list(lp.col_cost_) == [0, 0, 0, 1]
    rows = {row: {} for row in range(lp.num_row_)}
    starts, index, value = (
        list(part) for part in (lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_)
    )
    for row in rows:
        for at in range(starts[row], starts[row + 1]):
            rows[row][index[at]] = value[at]
    assert rows == {0: {2: 1}, 1: {0: 1, 1: 1, 2: -1}, 2: {0: 1, 1: 3}, 3: {0: -2, 1: -1, 3: 1}}
    assert list(lp.row_lower_) == [1, 0, -highspy.kHighsInf, 0]
    assert list(lp.row_upper_) == [1, 0, 3, highspy.kHighsInf]
