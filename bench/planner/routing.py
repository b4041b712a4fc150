"""How often searches of thresholds stop short of the best, by how much, and after how many rounds.

Example:
    python -m bench.planner.sample            # the demo's sample, for --demo
    python -m bench.planner.routing --demo  # writes bench/results/planner.csv, planner_routing.md
    python -m bench.planner.routing --smoke   # a few problems; writes nothing

Problems are drawn from seeds: the demo's sample or synthetic ones, synthetic latency curves, a
floor between the first tier's quality and the best there is, 8 to 32 GPUs, both objectives. All
searches of one problem minimise the same penalised latency on the same grid of 21 quantiles, and
`exact` proves its least value. One threshold for all tiers is set beside one a tier, both least at
the floor, the latter on 64 quantiles.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, mean, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows, source_line
from bench.planner.instances import curve_problem, synthetic_sample
from bench.planner.sample import read_sample
from bench.planner.searches import alternate, best_shared
from cascadia_sglang.planner.latency.curves import Curves, Deploy
from cascadia_sglang.planner.problem.problem import CalibrationRow, Problem
from cascadia_sglang.planner.thresholds.chebyshev import front
from cascadia_sglang.planner.thresholds.exact import minimise
from cascadia_sglang.planner.thresholds.grid import GridPoints, at_the_floor, penalised
from cascadia_sglang.planner.thresholds.penalty import (
    GRID_POINTS,
    coordinate_search,
    first_position,
)
from cascadia_sglang.planner.thresholds.replay import Replay, Sample, build_sample, threshold_grid

PENALTY = 100.0
QUANTILES = 64
SEARCHES = ("alternation", "penalty", "chebyshev")
# A value above the least by this share is short of it.
SHORT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one problem.

    Attributes:
        excess: of every search, its value over the least one, minus 1.
        rounds: of every search.
        boxes: that `exact` looked at.
        shared: latency with one threshold for all tiers over that with one a tier, minus 1.
    """

    excess: dict[str, float]
    rounds: dict[str, int]
    boxes: int
    shared: float


def outcome_of(problem: Problem, sample: Sample, seed: int) -> Outcome | None:
    """Run every search; None where the problem has nothing to choose.

    That is: no deployment for the first thresholds, or no better last tier.
    """
    deploy = Curves(problem).deploy
    points = GridPoints(Replay(sample, threshold_grid(sample, GRID_POINTS)), deploy)
    low, high = points.replay.ends
    nadir, last = points.replay.quality(low), points.replay.last_tier_quality()
    start = first_position(points.replay)
    reference_s = points.latency_s(start)
    if not last > nadir or math.isinf(reference_s):
        return None
    reach = points.replay.best_quality(low, high)
    floor = nadir + np.random.default_rng(seed).uniform(0.3, 0.95) * (min(last, reach) - nadir)
    value = penalised(points, reference_s, floor, PENALTY)
    proof = minimise(points, value)
    search = coordinate_search(points, value, start)
    alternated = alternate(problem, points, deploy, value, start)
    drawn = [value(point.latency_s, point.quality) for point in front(points)]
    values = {"alternation": alternated.value, "penalty": search.value, "chebyshev": min(drawn)}
    return Outcome(
        excess={name: values[name] / proof.value - 1 for name in SEARCHES},
        rounds={
            "alternation": alternated.rounds,
            "penalty": search.rounds,
            "chebyshev": len(drawn),
        },
        boxes=proof.boxes,
        shared=_shared_excess(sample, deploy, floor),
    )


def _shared_excess(sample: Sample, deploy: Deploy, floor: float) -> float:
    points = GridPoints(Replay(sample, threshold_grid(sample, QUANTILES)), deploy)
    return (
        best_shared(sample, deploy, floor, QUANTILES) / minimise(points, at_the_floor(floor)).value
        - 1
    )


def outcomes(samples: Sequence[list[CalibrationRow]], number: int, objective: str) -> list[Outcome]:
    """Outcomes of the first `number` problems that have something to choose."""
    solved: list[Outcome] = []
    for seed in range(10 * number):
        rows = samples[seed % len(samples)]
        gpus = (8, 16, 32)[seed % 3]
        problem = curve_problem(rows, gpus, "path" if objective == "path" else "bottleneck", seed)
        outcome = outcome_of(problem, build_sample(rows), seed)
        if outcome is not None:
            solved.append(outcome)
        if len(solved) == number:
            break
    return solved


def estimates(solved: Sequence[Outcome]) -> list[tuple[str, str, str, Estimate]]:
    """Variant, metric, unit and estimate of everything that is told."""
    rows = []
    for name in SEARCHES:
        excess = [outcome.excess[name] for outcome in solved]
        short = [value for value in excess if value > SHORT]
        rows.append((name, "stops short", "1", mean([float(value > SHORT) for value in excess])))
        if short:
            rows.append((name, "excess where short", "1", spread(short)))
            rows.append((name, "largest excess", "1", Estimate(p50=max(short), n=len(short))))
        rows.append((name, "rounds", "1", spread([outcome.rounds[name] for outcome in solved])))
    rows.append(("exact", "boxes", "1", spread([outcome.boxes for outcome in solved])))
    shared = [outcome.shared for outcome in solved if math.isfinite(outcome.shared)]
    rows.append(("one threshold", "excess", "1", spread(shared)))
    rows.append(("one threshold", "largest excess", "1", Estimate(p50=max(shared), n=len(shared))))
    worse = [float(value > 0.01) for value in shared]
    rows.append(("one threshold", "over 1 percent slower", "1", mean(worse)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=20, help="a family and objective")
    parser.add_argument("--demo", action="store_true", help="also with the demo's sample")
    parser.add_argument("--smoke", action="store_true", help="a few problems; writes nothing")
    options = parser.parse_args()
    number = 2 if options.smoke else options.problems
    families = {"synthetic, 3 tiers": [synthetic_sample(3, 1000, seed) for seed in range(10)]}
    if options.demo:
        families["demo, 3 tiers"] = [read_sample()]
    facts = facts_of_this_run("bench.planner.routing")
    rows = []
    lines = [
        "# Searches of thresholds beside the proved best",
        "",
        "Synthetic latency curves, not a measurement of any device. Excess is over the least value",
        "that `exact` proves on the same grid; median (20th to 80th percentile).",
        "",
    ]
    for family, samples in families.items():
        for objective in ("bottleneck", "path"):
            solved = outcomes(samples, number, objective)
            case = f"{family}, {objective}"
            lines += [
                f"## {case}, {len(solved)} problems",
                "",
                "| search | what | value |",
                "|---|---|---|",
            ]
            for variant, metric, unit, value in estimates(solved):
                lines.append(f"| {variant} | {metric} | {_shown(metric, value)} |")
                rows.append(
                    make_row(
                        facts,
                        bench="planner routing",
                        case=case,
                        variant=variant,
                        metric=metric,
                        unit=unit,
                        value=value,
                    )
                )
            lines.append("")
            print("\n".join(lines[-20:]), flush=True)
    page = "\n".join([*lines, source_line(facts), ""])
    if not options.smoke:
        save_rows(RESULTS / "planner.csv", rows)
        (RESULTS / "planner_routing.md").write_text(page)


def _shown(metric: str, value: Estimate) -> str:
    if metric in ("rounds", "boxes"):
        return f"{value.p50:.0f} ({value.p20:.0f} to {value.p80:.0f})"
    if value.low95 is not None and value.high95 is not None:
        return f"{value.p50:.1%} [{max(0.0, value.low95):.1%}, {min(1.0, value.high95):.1%}]"
    if value.p20 is None:
        return f"{value.p50:.2%}"
    return f"{value.p50:.2%} ({value.p20:.2%} to {value.p80:.2%})"


if __name__ == "__main__":
    main()
