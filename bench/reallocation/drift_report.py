"""What the arms of `bench.reallocation.drift` made of their traces, as rows and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, make_row, source_line

BENCH = "reallocation.drift"
# Student's t for five seeds.
T_95 = 2.776


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an arm made of a seed's trace.

    Attributes:
        attained: share of the requests that were answered within the target.
        right: share of the answered ones whose answer is right.
    """

    attained: float
    p95_s: float
    right: float
    failed: int
    moves: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRuns:
    """Requests per second of the phases, and the runs of every arm, one a seed."""

    rates: tuple[float, ...]
    runs: dict[str, list[Run]]

    def best_fixed(self) -> str:
        """The fixed split of the best mean attainment."""
        fixed = [name for name in self.runs if name.startswith("fixed")]
        return max(fixed, key=lambda name: mean_of([run.attained for run in self.runs[name]]).p50)

    def gains(self, name: str) -> list[float]:
        """By how much an arm attained more than the best fixed split, seed by seed."""
        base = self.runs[self.best_fixed()]
        return [
            run.attained - fixed.attained for run, fixed in zip(self.runs[name], base, strict=True)
        ]


def mean_of(values: Sequence[float]) -> Estimate:
    """Mean over the seeds with its 95 % interval."""
    center = float(np.mean(values))
    if len(values) < 2:
        return Estimate(p50=center, n=1)
    half = T_95 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Estimate(p50=center, low95=center - half, high95=center + half, n=len(values))


def rows_of(results: DriftRuns, slo_s: float, facts: Facts) -> list[Row]:
    """Every arm's numbers, and its difference to the best fixed split, paired by seed."""
    case = f"easy, hard, easy at twice the rate; within {slo_s:g} s; emulated device"
    rows = []
    for name, runs in results.runs.items():
        values = {
            "attained": ("1", [run.attained for run in runs]),
            "attained - best fixed": ("1", results.gains(name)),
            "e2e_p95": ("s", [run.p95_s for run in runs]),
            "accuracy": ("1", [run.right for run in runs]),
            "failed": ("count", [float(run.failed) for run in runs]),
            "moves": ("count", [float(run.moves) for run in runs]),
        }
        rows += [
            make_row(
                facts,
                bench=BENCH,
                case=case,
                variant=name,
                metric=metric,
                unit=unit,
                value=mean_of(numbers),
            )
            for metric, (unit, numbers) in values.items()
        ]
    return rows


def report(results: DriftRuns, slo_s: float, facts: Facts) -> str:
    """The table."""
    best = results.best_fixed()
    rates = ", ".join(f"{rate:.2f}" for rate in results.rates)
    lines = [
        "# A changing workload, on emulated devices",
        "",
        f"Answered within {slo_s:g} s; rates of the phases {rates} requests/s; means over "
        f"{len(results.runs[best])} seeds with 95 % intervals, differences paired by seed.",
        "",
        "| arm | attained | less the best fixed, points | p95, s | accuracy | failed | moves |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.runs.items():
        mark = ", the best of the fixed" if name == best else ""
        lines.append(
            f"| {name}{mark} | {_percent(mean_of([run.attained for run in runs]), ' %')} "
            f"| {_percent(mean_of(results.gains(name)), '')} "
            f"| {np.mean([run.p95_s for run in runs]):.1f} "
            f"| {100 * np.mean([run.right for run in runs]):.1f} % "
            f"| {sum(run.failed for run in runs)} | {np.mean([run.moves for run in runs]):.1f} |"
        )
    return "\n".join([*lines, "", source_line(facts), ""])


def _percent(value: Estimate, unit: str) -> str:
    if value.low95 is None or value.high95 is None:
        return f"{100 * value.p50:.1f}{unit}"
    return f"{100 * value.p50:.1f}{unit} [{100 * value.low95:.1f}, {100 * value.high95:.1f}]"
