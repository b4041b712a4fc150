"""Shares that must climb and costs of a request, with intervals and beside a baseline.

Intervals are of the questions that are ranked: they are drawn again, the fit stays.

Shape legend: N answers, P ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness.estimates import Estimate
from bench.real.climbs.costs import Outcome
from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray

# Below the larger tier's accuracy.
MARGINS = (0.01, 0.05)
BASELINES = ("score",)
COST_BASELINES = ("thresholds", "thresholds, predicted entry")
_RESAMPLES = 1000
_SEED = 0


def must_climb(rank_N: FloatArray, gain_N: FloatArray, margin: float) -> float:
    """The least share that climbs, the highest ranks first, for an accuracy within the margin.

    Answers of one rank climb in no order: each counts as the mean of its equals.

    Args:
        gain_N: 1 where the larger tier alone is right, -1 where the smaller one alone is, else 0.
    """
    _, place_N, count_P = np.unique(-rank_N, return_inverse=True, return_counts=True)
    gained_P = np.cumsum(np.bincount(place_N, weights=gain_N))
    ends_P = np.cumsum(count_P)
    needed = float(gain_N.sum()) - margin * len(gain_N)
    if needed <= 0.0:
        return 0.0
    # All climb at the end, and gain what is needed, so there is a first place that does.
    first = int(np.flatnonzero(gained_P >= needed - 1e-9)[0])
    before_gain = float(gained_P[first - 1]) if first else 0.0
    before = int(ends_P[first - 1]) if first else 0
    part = (needed - before_gain) / (float(gained_P[first]) - before_gain)
    return (before + part * int(count_P[first])) / len(gain_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One rule on one group of answers.

    Attributes:
        metric: the share that must climb, or the cost of a request.
        value: for each of `MARGINS`.
        ratios: that over each baseline's, drawn in pairs; by the baseline's name.
    """

    case: str
    group: str
    metric: str
    rule: str
    value: tuple[Estimate, ...]
    ratios: Mapping[str, tuple[Estimate, ...]]


def measure(
    case: str,
    group: str,
    ranks: Mapping[str, FloatArray],
    small_N: BoolArray,
    large_N: BoolArray,
    resamples: int = _RESAMPLES,
) -> Iterator[Measurement]:
    """The share that must climb by every rule, beside the baseline's on the same draws."""
    gain_N = large_N.astype(np.float64) - small_N
    draws = _draws(len(gain_N), resamples)
    shares = {
        rule: [
            np.array([must_climb(rank_N[rows], gain_N[rows], margin) for rows in draws])
            for margin in MARGINS
        ]
        for rule, rank_N in ranks.items()
    }
    yield from _beside(case, group, "must_climb", shares, BASELINES, len(gain_N))


def measure_costs(
    case: str,
    group: str,
    systems: Mapping[str, Outcome],
    large_N: BoolArray,
    resamples: int = _RESAMPLES,
) -> Iterator[Measurement]:
    """The cost of a request at equal accuracy, beside that of thresholds on the same draws."""
    count = len(large_N)
    counts = [np.bincount(rows, minlength=count).astype(float) for rows in _draws(count, resamples)]
    costs = {
        system: [
            np.array(
                [
                    outcome.least_cost(float(large_N @ drawn) / count - margin, drawn)
                    for drawn in counts
                ]
            )
            for margin in MARGINS
        ]
        for system, outcome in systems.items()
    }
    yield from _beside(case, group, "cost", costs, COST_BASELINES, count)


def _draws(count: int, resamples: int) -> list[RowArray]:
    """All rows as they are, then rows drawn again."""
    rng = np.random.default_rng(_SEED)
    return [np.arange(count), *rng.integers(count, size=(resamples, count))]


def _beside(
    case: str,
    group: str,
    metric: str,
    values: Mapping[str, Sequence[FloatArray]],
    baselines: Sequence[str],
    count: int,
) -> Iterator[Measurement]:
    for rule, resampled in values.items():
        yield Measurement(
            case=case,
            group=group,
            metric=metric,
            rule=rule,
            value=tuple(_estimate(each, count) for each in resampled),
            ratios={
                name: tuple(
                    _estimate(each / base, count)
                    for each, base in zip(resampled, values[name], strict=True)
                )
                for name in baselines
            },
        )


def _estimate(values: FloatArray, count: int) -> Estimate:
    """The first is the value; the others are resampled."""
    low, high = np.quantile(values[1:], (0.025, 0.975), method="nearest").tolist()
    return Estimate(p50=float(values[0]), low95=low, high95=high, n=count)
