"""A table of real and simulated latencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Comparison(Protocol):
    """One arm at one load."""

    arm: str
    load: float
    rate_per_s: float
    real_p50_ms: list[float]
    real_p95_ms: list[float]
    simulated_p50_ms: list[float]
    simulated_p95_ms: list[float]

    @property
    def half_width(self) -> float: ...

    @property
    def error(self) -> float: ...

    @property
    def allowed(self) -> float: ...


def report(cells: Sequence[Comparison]) -> str:
    """Markdown, a line a cell."""
    lines = [
        "| arm | load | requests/s | real p50, p95 | simulated p50, p95 | error of p95 | allowed |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        means = [
            float(np.mean(values))
            for values in (
                cell.real_p50_ms,
                cell.real_p95_ms,
                cell.simulated_p50_ms,
                cell.simulated_p95_ms,
            )
        ]
        met = "" if abs(cell.error) <= cell.allowed else ", missed"
        lines.append(
            f"| {cell.arm} | {100 * cell.load:.0f} % | {cell.rate_per_s:.1f} "
            f"| {means[0]:.0f}, {means[1]:.0f} ms ± {100 * cell.half_width:.0f} % "
            f"| {means[2]:.0f}, {means[3]:.0f} ms | {100 * cell.error:+.1f} % "
            f"| {100 * cell.allowed:.0f} %{met} |"
        )
    return "\n".join(lines) + "\n"
