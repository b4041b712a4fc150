"""Draws accuracy against requests per second, from the rows of `bench.serving.compare`.

python -m bench.serving.picture               # writes bench/results/serving.svg
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt

from bench import RESULTS

Points = dict[str, dict[str, float]]


def points(path: Path) -> Points:
    """The value of every metric, by variant."""
    values: Points = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values.setdefault(row["variant"], {})[row["metric"]] = float(row["p50"])
    return values


def draw(values: Points, to: Path) -> None:
    """One point a tier, one for the cascade as it is shipped, a line over its thresholds."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    sweep = {name: value for name, value in values.items() if name.startswith("cascade at ")}
    line = sorted((value["requests_per_s"], value["accuracy"]) for value in sweep.values())
    axes.plot(*zip(*line, strict=True), "o-", color="tab:blue", label="cascade, one threshold")
    for name, value in sweep.items():
        at = (value["requests_per_s"], value["accuracy"])
        axes.annotate(name.removeprefix("cascade at "), at, (4, 4), textcoords="offset points")
    shipped = values["cascade"]
    at = (shipped["requests_per_s"], shipped["accuracy"])
    axes.plot(*at, "*", markersize=14, color="tab:blue", label="cascade, as shipped")
    for name, value in values.items():
        # Relations of two arms have no latency of their own.
        if not name.endswith(" alone") or "latency_p50" not in value:
            continue
        at = (value["requests_per_s"], value["accuracy"])
        axes.plot(*at, "s", color="tab:gray")
        axes.annotate(name, at, (6, -10), textcoords="offset points")
    axes.set_xlabel("requests/s")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    """Draw the committed rows."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    draw(points(RESULTS / "serving.csv"), RESULTS / "serving.svg")


if __name__ == "__main__":
    main()
