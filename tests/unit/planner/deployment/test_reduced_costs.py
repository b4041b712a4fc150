"""Columns that are fixed at zero are in no plan that is as good as the incumbent."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.planner.instances import table_problem
from cascadia_sglang.planner.deployment.columns import Columns, build_columns
from cascadia_sglang.planner.deployment.incumbent import best_picks
from cascadia_sglang.planner.deployment.reduced_costs import useful
from cascadia_sglang.planner.problem.problem import Problem
from tests.unit.planner.problems import problems


def every_plan(columns: Columns, candidates: int) -> list[tuple[int, ...]]:
    """All choices of a column a pool that fit, of every candidate."""
    groups = columns.groups()
    plans = []
    for candidate in range(candidates):
        pools = [
            [int(c) for c in (groups == candidate * columns.pools + pool).nonzero()[0]]
            for pool in range(columns.pools)
        ]
        for picks in itertools.product(*pools):
            if (columns.uses_CR[list(picks)].sum(0) <= columns.capacity_R).all():
                plans.append(picks)
    return plans


@settings(max_examples=150)
@given(problems(), st.floats(0, 1))
def test_no_plan_as_good_as_the_incumbent_loses_a_column(problem: Problem, rank: float) -> None:
    """The incumbent may be any plan, not only the best."""
    columns, _ = build_columns(problem, range(len(problem.candidates)))
    plans = every_plan(columns, len(problem.candidates))
    if not plans:
        return
    values = sorted(columns.objective_s(picks) for picks in plans)
    incumbent_s = values[int(rank * (len(values) - 1))]
    kept_C = useful(columns, incumbent_s)
    for picks in plans:
        if columns.objective_s(picks) <= incumbent_s:
            assert kept_C[list(picks)].all()


def test_few_columns_are_left_to_the_solver() -> None:
    for objective in ("bottleneck", "path"):
        problem = table_problem(5, 256, objective, seed=0)
        columns, _ = build_columns(problem, [0])
        picks = best_picks(columns, 0)
        assert picks is not None
        assert useful(columns, columns.objective_s(picks)).sum() < 50
