"""Real and simulated runs of one arm at one load, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, make_row

BENCH = "planner.simulator"
# Student's t by runs.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm at one load: what each run came to, real and simulated, in milliseconds.

    Attributes:
        allowed_mean: error of the mean latency that is allowed.
    """

    arm: str
    load: float
    rate_per_s: float
    requests: int
    allowed_mean: float
    real_mean_ms: list[float]
    simulated_mean_ms: list[float]
    real_p50_ms: list[float]
    real_p95_ms: list[float]
    simulated_p50_ms: list[float]
    simulated_p95_ms: list[float]

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of the real p95, relative to it."""
        return _half_width(self.real_p95_ms) / float(np.mean(self.real_p95_ms))

    @property
    def mean_errors(self) -> list[float]:
        """Simulated over real mean latency, minus 1, of every run."""
        pairs = zip(self.simulated_mean_ms, self.real_mean_ms, strict=True)
        return [simulated / real - 1.0 for simulated, real in pairs]

    @property
    def mean_error(self) -> Estimate:
        """Their mean, with its 95 % interval."""
        error, half = float(np.mean(self.mean_errors)), _half_width(self.mean_errors)
        return Estimate(p50=error, low95=error - half, high95=error + half, n=len(self.mean_errors))

    @property
    def error(self) -> float:
        """Simulated over real p95, minus 1; means over the runs."""
        return float(np.mean(self.simulated_p95_ms) / np.mean(self.real_p95_ms)) - 1.0

    @property
    def allowed(self) -> float:
        return max(0.1, self.half_width)


def _half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of the mean of the runs' values."""
    if len(values) < 2:
        return 0.0
    return T_95[len(values)] * float(np.std(values, ddof=1)) / len(values) ** 0.5


def rows_of(cell: Cell, facts: Facts) -> list[Row]:
    """Every number of a cell."""
    real_ms = float(np.mean(cell.real_p95_ms))
    half_ms = cell.half_width * real_ms
    runs = len(cell.real_p95_ms)
    real = Estimate(p50=real_ms, low95=real_ms - half_ms, high95=real_ms + half_ms, n=runs)

    def plain(value: float) -> Estimate:
        return Estimate(p50=value, n=runs)

    values = (
        ("real", "e2e_p95", "ms", real),
        ("real", "e2e_p50", "ms", plain(float(np.mean(cell.real_p50_ms)))),
        ("simulated", "e2e_p95", "ms", plain(float(np.mean(cell.simulated_p95_ms)))),
        ("simulated", "e2e_p50", "ms", plain(float(np.mean(cell.simulated_p50_ms)))),
        ("simulated/real - 1", "e2e_p95", "1", plain(cell.error)),
        ("allowed", "e2e_p95", "1", plain(cell.allowed)),
        ("real", "e2e_mean", "ms", plain(float(np.mean(cell.real_mean_ms)))),
        ("simulated", "e2e_mean", "ms", plain(float(np.mean(cell.simulated_mean_ms)))),
        ("simulated/real - 1", "e2e_mean", "1", cell.mean_error),
        ("allowed", "e2e_mean", "1", plain(cell.allowed_mean)),
        ("real", "rate", "1/s", plain(cell.rate_per_s)),
        ("real", "requests", "1", plain(cell.requests)),
    )
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{cell.arm}, {100 * cell.load:.0f} % of saturation",
            variant=variant,
            metric=metric,
            unit=unit,
            value=value,
        )
        for variant, metric, unit, value in values
    ]
