"""Draws attainment against SLO scale, from the rows of `bench.rivals.compare`.

python -m bench.rivals.picture                # writes bench/results/rivals.svg
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from bench.harness.rows import RESULTS
from bench.rivals.report import ATTAINED, WITHIN, opened

SHARE = 0.6  # of the loads that were measured
Curve = list[tuple[float, float]]


def curves(path: Path, case: str) -> dict[str, Curve]:
    """Scale and attainment of every system, in the order of the rows."""
    found: dict[str, Curve] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["case"].endswith(case) and row["metric"].startswith(WITHIN):
                scale = float(row["metric"].removeprefix(WITHIN))
                found.setdefault(row["variant"], []).append((scale, float(row["p50"])))
    return found


def draw(found: Mapping[str, Sequence[tuple[float, float]]], to: Path) -> None:
    """A line a system; tiers alone are gray."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    grays = iter(("0.8", "0.6", "0.3"))
    for name, curve in found.items():
        is_tier = name.endswith(" alone")
        color = next(grays) if is_tier else None
        axes.plot(*zip(*curve, strict=True), "--" if is_tier else "-", color=color, label=name)
    axes.axhline(ATTAINED, color="black", linewidth=0.5)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("SLO scale")
    axes.set_ylabel("share of requests in time")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(to, metadata={"Date": None})


if __name__ == "__main__":
    draw(curves(RESULTS / "rivals.csv", opened(SHARE)), RESULTS / "rivals.svg")
