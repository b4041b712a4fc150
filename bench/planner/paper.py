"""The paper's experiments as simulation: nothing on the page that it writes was measured.

Example:
    python -m bench.planner.paper            # writes bench/results/paper_simulated.csv, paper.md
    python -m bench.planner.paper --smoke    # one small case; writes nothing

Roofline step times of 32 H100, drawn requests, drawn qualities; see the page's first lines.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bench import RESULTS
from bench.harness.rows import facts_of_this_run, source_line
from bench.planner.fleet import DEEPSEEK, LLAMA, drawn_workload, graded_sample
from bench.planner.paper_page import Cell, load_cells, page, save_cells
from bench.planner.rivals import CHUNKS, RIVALS, Case, ServingPlan, alone
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.latency.build_surfaces import build_surfaces
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation.paths import direct_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.workload.workload import Workload

CSV = RESULTS / "paper_simulated.csv"
PAGE = Path(__file__).with_name("paper.md")
GPUS = 32
REQUESTS = 2_500
ATTAINED = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A cascade with what is assumed of it: the tiers' qualities, and the floors asked for."""

    name: str
    tiers: tuple[dict, ...]
    skills: tuple[float, ...]
    floors: tuple[float, ...]
    # Requests per second of each trace.
    rates_per_s: tuple[float, ...]


# Mean input and output tokens: conversation, code, long answers.
TRACES = ((1200.0, 220.0), (2000.0, 40.0), (500.0, 450.0))
FAMILIES = (
    Family(
        name="DeepSeek-like",
        tiers=DEEPSEEK,
        skills=(0.65, 0.82, 0.93),
        floors=(0.9, 0.85, 0.75),
        rates_per_s=(10.0, 24.0, 6.0),
    ),
    Family(
        name="Llama-like",
        tiers=LLAMA,
        skills=(0.68, 0.86),
        floors=(0.83, 0.78),
        rates_per_s=(40.0, 70.0, 20.0),
    ),
)


def problem_of(family: Family, floor: float, rows: int) -> Problem:
    """The planner's problem, its cluster four nodes of eight."""
    data = {
        "gpu_budget": GPUS,
        "quality_floor": floor,
        "tiers": list(family.tiers),
        "cluster": [{"gpu": "H100", "nodes": GPUS // 8, "gpus_per_node": 8}],
    }
    problem = msgspec.convert(data, Problem)
    return msgspec.structs.replace(problem, calibration=graded_sample(family.skills, rows, 5))


def idle_s(case: Case) -> FloatArray:
    """What each request takes on an idle replica of the last tier in its fastest shape, [R]."""
    tier = case.problem.tiers[-1]
    surface = case.surfaces[tier.pool_name]
    shape, _ = min(surface, key=lambda way: float(way[1][0].mean_s_G[0]))
    simulated = SimulatedTier(
        name=tier.name, times=shape.times, limits=shape.limits, stages=shape.pp
    )
    calm = case.workload.at_rate(1e-3)
    return simulate(calm, direct_paths(calm), [simulated]).e2e_s_R


def scale_of(served: ServingPlan, workload: Workload, idle_s_R: FloatArray) -> float:
    """The least multiple of every request's idle latency within which 95 % are answered."""
    outcome = simulate(workload, served.paths, served.tiers, is_buffered=True)
    relative_R = np.where(outcome.is_done, outcome.e2e_s_R / idle_s_R, np.inf)
    return float(np.quantile(relative_R, ATTAINED, method="inverted_cdf"))


def throughput_per_s(served: ServingPlan, workload: Workload) -> float:
    """Answers per second where all requests wait from the start: of the middle half."""
    at_once = dataclasses.replace(workload, arrival_s_R=np.zeros(len(workload)))
    ends_R = np.sort(simulate(at_once, served.paths, served.tiers).e2e_s_R)
    first, last = len(ends_R) // 4, len(ends_R) * 3 // 4
    return (last - first) / float(ends_R[last] - ends_R[first])


def cells_of(family: Family, trace: int, count: int, rows: int) -> Iterator[Cell]:
    """Every way to serve, at every floor, on one trace."""
    inputs, outputs = TRACES[trace]
    rate = family.rates_per_s[trace]
    workload = drawn_workload(rate, count, 11 + trace, inputs=inputs, outputs=outputs)
    problem = problem_of(family, family.floors[0], rows)
    shapes = shapes_of_pools(problem, workload)
    surfaces = build_surfaces(problem, workload, shapes, JobRunner())
    case = Case(problem=problem, workload=workload, surfaces=surfaces)
    idle_s_R = idle_s(case)

    def cell(floor: float | None, name: str, served: ServingPlan | None, why: str = "") -> Cell:
        return Cell(
            family=family.name,
            trace=trace + 1,
            rate_per_s=rate,
            floor=floor,
            name=name,
            quality=None if served is None else served.quality,
            scale=None if served is None else scale_of(served, workload, idle_s_R),
            throughput_per_s=None if served is None else throughput_per_s(served, workload),
            told=why if served is None else served.shapes,
        )

    for tier in range(len(family.tiers)):
        tried = [served for chunk in CHUNKS for served in alone(case, tier, chunk)]
        scales = [scale_of(served, workload, idle_s_R) for served in tried]
        best = tried[scales.index(min(scales))]
        yield cell(None, f"{problem.tiers[tier].name} alone", best)
    for floor in family.floors:
        at_floor = dataclasses.replace(case, problem=problem_of(family, floor, rows))
        for name, rival in RIVALS.items():
            try:
                yield cell(floor, name, rival(at_floor))
            except InfeasiblePlanError as error:
                yield cell(floor, name, None, str(error))


def main() -> None:
    """Simulate, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one small case; writes nothing")
    parser.add_argument("--page", action="store_true", help="write the page from the rows again")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.planner.paper")
    if args.page:
        PAGE.write_text(page(*load_cells(CSV)), encoding="utf-8")
        return
    if args.smoke:
        small = dataclasses.replace(FAMILIES[1], floors=FAMILIES[1].floors[:1])
        print(page(list(cells_of(small, 0, 300, 200)), source_line(facts)))
        return
    cells = []
    for family in FAMILIES:
        for trace in range(len(TRACES)):
            for cell in cells_of(family, trace, REQUESTS, 1_000):
                print(cell, flush=True)
                cells.append(cell)
            save_cells(CSV, cells, facts)
            PAGE.write_text(page(*load_cells(CSV)), encoding="utf-8")


if __name__ == "__main__":
    main()
