"""How long the deployment level takes with its tables given, and what its parts are worth.

Example:
    python -m bench.planner.solver             # writes bench/results/planner.csv, planner_solver.md
    python -m bench.planner.solver --smoke     # the smallest size once; writes nothing
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.planner.instances import table_problem
from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.columns import build_columns
from cascadia_sglang.planner.deployment.incumbent import best_picks
from cascadia_sglang.planner.deployment.milp import solve_milp
from cascadia_sglang.planner.problem.problem import Objective, Problem

# Tiers, GPUs, and the milliseconds that a plan may take.
SIZES = ((3, 32, 50.0), (3, 80, 150.0), (5, 1024, 2000.0))
OBJECTIVES: tuple[Objective, ...] = ("bottleneck", "path")


def whole(problem: Problem) -> float:
    """Incumbent, fixed columns, HiGHS and the check: what `cascadia plan` does."""
    return allocate(problem).objective_s


def exact_alone(problem: Problem) -> float:
    """Bisection or dynamic programme without HiGHS."""
    columns, _ = build_columns(problem, [0])
    picks = best_picks(columns, 0)
    assert picks is not None
    return columns.objective_s(picks)


def programme_alone(problem: Problem) -> float:
    """HiGHS without an incumbent and without a column fixed."""
    columns, _ = build_columns(problem, [0])
    picks = solve_milp(columns, scale_s=1.0, start=None, time_limit_s=60).picks
    assert picks is not None
    return columns.objective_s(picks)


VARIANTS: dict[str, Callable[[Problem], float]] = {
    "plan": whole,
    "exact alone": exact_alone,
    "HiGHS alone": programme_alone,
}


# HiGHS alone takes long at the largest size; it is compared below that.
COMPARED_GPUS = 100


def measure(tiers: int, gpus: int, objective: Objective, runs: int) -> dict[str, list[float]]:
    """Milliseconds of every variant on the same problems, after all agreed on the optimum.

    Raises:
        RuntimeError: if a variant finds another optimum; nothing is timed then.
    """
    variants = {
        name: solve
        for name, solve in VARIANTS.items()
        if gpus <= COMPARED_GPUS or solve is not programme_alone
    }
    problems = [table_problem(tiers, gpus, objective, seed) for seed in range(runs)]
    for seed, problem in enumerate(problems):
        objectives = {name: solve(problem) for name, solve in variants.items()}
        if max(objectives.values()) > min(objectives.values()) * (1 + 1e-6):
            raise RuntimeError(
                f"{tiers} tiers, {gpus} GPUs, {objective}, seed {seed}: {objectives}"
            )
    times: dict[str, list[float]] = {name: [] for name in variants}
    for problem in problems:
        for name, solve in variants.items():
            begun = time.perf_counter()
            solve(problem)
            times[name].append(1000 * (time.perf_counter() - begun))
    return times


def rows_of(facts: Facts, case: str, times: dict[str, list[float]]) -> list[Row]:
    """Median and slowest of every variant."""
    rows = []
    for name, values in times.items():
        slowest = Estimate(p50=max(values), n=len(values))
        for metric, value in (("solve", spread(values)), ("slowest solve", slowest)):
            rows.append(
                make_row(
                    facts,
                    bench="planner solver",
                    case=case,
                    variant=name,
                    metric=metric,
                    unit="ms",
                    value=value,
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15, help="problems a size and objective")
    parser.add_argument("--smoke", action="store_true", help="the smallest once; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.planner.solver")
    rows = []
    lines = [
        "# The deployment level, tables given",
        "",
        "Milliseconds, median and slowest of problems that differ; every variant finds the same "
        "optimum. `plan` is all of it: incumbent, fixed columns, HiGHS to a gap of 0, check.",
        "",
        f"| tiers x GPUs, objective | target | {' | '.join(VARIANTS)} |",
        "|---|---|" + "---|" * len(VARIANTS),
    ]
    for tiers, gpus, target_ms in SIZES[:1] if options.smoke else SIZES:
        for objective in OBJECTIVES:
            times = measure(tiers, gpus, objective, 2 if options.smoke else options.runs)
            case = f"{tiers} tiers, {gpus} GPUs, {objective}"
            rows += rows_of(facts, case, times)
            times_of_variants = [
                f"{spread(times[name]).p50:.1f}, {max(times[name]):.1f}" if name in times else "-"
                for name in VARIANTS
            ]
            lines.append(f"| {case} | {target_ms:g} | {' | '.join(times_of_variants)} |")
    page = "\n".join([*lines, "", source_line(facts), ""])
    print(page)
    if not options.smoke:
        save_rows(RESULTS / "planner.csv", rows)
        (RESULTS / "planner_solver.md").write_text(page)


if __name__ == "__main__":
    main()
