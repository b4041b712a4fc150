"""A table of real and simulated latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.planner.simulator_cell import Cell


def report(cells: Sequence[Cell]) -> str:
    """Markdown, a line a cell, and the mean error of the p95 over all of them."""
    lines = [
        "| arm | load | requests/s | real mean, p50, p95 | simulated mean, p50, p95 "
        "| error of the mean, of pairs | allowed | error of p95 | allowed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        real, simulated = (
            ", ".join(f"{float(np.mean(values)):.0f}" for values in runs)
            for runs in (
                (cell.real_mean_ms, cell.real_p50_ms, cell.real_p95_ms),
                (cell.simulated_mean_ms, cell.simulated_p50_ms, cell.simulated_p95_ms),
            )
        )
        mean = cell.mean_error
        half = 0.0 if mean.high95 is None else mean.high95 - mean.p50
        lines.append(
            f"| {cell.arm} | {100 * cell.load:.0f} % | {cell.rate_per_s:.1f} "
            f"| {real} ms ± {100 * cell.half_width:.0f} % | {simulated} ms "
            f"| {100 * mean.p50:+.1f} % ± {100 * half:.1f} "
            f"| {100 * cell.allowed_mean:.0f} %{_missed(mean.p50, cell.allowed_mean)} "
            f"| {100 * cell.error:+.1f} % "
            f"| {100 * cell.allowed:.0f} %{_missed(cell.error, cell.allowed)} |"
        )
    signed = 100 * float(np.mean([cell.error for cell in cells]))
    lines += ["", f"Mean signed error of p95 over {len(cells)} cells: {signed:+.1f} %."]
    return "\n".join(lines) + "\n"


def _missed(error: float, allowed: float) -> str:
    return "" if abs(error) <= allowed else ", missed"
