"""Draws the rows of `bench.rivals.compare`: attainment against SLO scale, accuracy against latency.

python -m bench.rivals.picture     # writes bench/results/rivals.svg and rivals_curves.svg
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench import RESULTS
from bench.rivals.report import ALONE, ATTAINED, SET_TO, WITHIN, Load, closed
from bench.rivals.workloads import MIXED

LOAD = Load(share=0.6)  # of those that were measured
Curve = list[tuple[float, float]]


def attainment(rows: Sequence[Mapping[str, str]], case: str) -> dict[str, Curve]:
    """Scale and attainment of every system, in the order of the rows."""
    curves: dict[str, Curve] = {}
    for row in rows:
        if row["case"].endswith(case) and row["metric"].startswith(WITHIN):
            scale = float(row["metric"].removeprefix(WITHIN))
            curves.setdefault(row["variant"], []).append((scale, float(row["p50"])))
    return curves


def settings(rows: Sequence[Mapping[str, str]]) -> dict[str, Curve]:
    """Mean latency, ms, and accuracy of every system, by falling accuracy; a tier has one point."""
    points: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        _, _, case = row["case"].partition(", ")
        is_tier = row["variant"].endswith(ALONE) and case == closed(MIXED)
        if (SET_TO in case or is_tier) and row["metric"] in ("accuracy", "latency mean"):
            points.setdefault((row["variant"], case), {})[row["metric"]] = float(row["p50"])
    curves: dict[str, Curve] = {}
    for (name, _), point in points.items():
        # A system beside a tier alone has a difference of accuracies, and no latency.
        if "latency mean" in point:
            curves.setdefault(name, []).append((point["latency mean"], point["accuracy"]))
    return {name: sorted(curve) for name, curve in curves.items()}


def draw(curves: Mapping[str, Curve], axes: Axes) -> None:
    """A line a system; tiers alone are gray, and a point where they have one."""
    grays = iter(("0.8", "0.6", "0.3"))
    for name, curve in curves.items():
        is_tier = name.endswith(ALONE)
        color = next(grays) if is_tier else None
        line, mark = ("--" if is_tier else "-"), ("o" if len(curve) < 10 else None)
        axes.plot(*zip(*curve, strict=True), line, marker=mark, color=color, label=name)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def main() -> None:
    """Draw both."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with (RESULTS / "rivals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    draw(attainment(rows, LOAD.case), axes)
    axes.axhline(ATTAINED, color="black", linewidth=0.5)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("SLO scale")
    axes.set_ylabel("share of requests in time")
    figure.savefig(RESULTS / "rivals.svg", metadata={"Date": None})
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    draw(settings(rows), axes)
    axes.set_xscale("log")
    axes.set_xlabel("mean latency at concurrency 64, ms")
    axes.set_ylabel("accuracy")
    figure.savefig(RESULTS / "rivals_curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
