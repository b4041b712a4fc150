"""Medians, quantiles and intervals of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number out of `n` repetitions.

    Attributes:
        p50: the number itself: their median, or a mean where that is the estimate.
        p20, p80: quantiles over the repetitions, where they say something.
        low95, high95: ends of its 95 percent interval, where it has one.
    """

    p50: float
    n: int
    p20: float | None = None
    p80: float | None = None
    low95: float | None = None
    high95: float | None = None


def spread(values: Sequence[float]) -> Estimate:
    """Median and quantiles of values, at least one."""
    p50, p20, p80 = np.quantile(values, (0.5, 0.2, 0.8)).tolist()
    return Estimate(p50=p50, p20=p20, p80=p80, n=len(values))


def median_ratio(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Median of the ratios of pairs, with a bootstrap interval over the pairs.

    Args:
        after, before: of one length; `after[i]` and `before[i]` were measured one after the other.
    """
    ratios_P = np.divide(after, before)
    count = len(ratios_P)
    picks_RP = np.random.default_rng(_SEED).integers(count, size=(_RESAMPLES, count))
    low, high = np.quantile(np.median(ratios_P[picks_RP], axis=1), (0.025, 0.975)).tolist()
    p50, p20, p80 = np.quantile(ratios_P, (0.5, 0.2, 0.8)).tolist()
    return Estimate(p50=p50, p20=p20, p80=p80, low95=low, high95=high, n=count)


def sum_ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Ratio of two sums over the same cases, with a bootstrap interval over the cases."""
    above_P, below_P = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    count = len(above_P)
    rng = np.random.default_rng(_SEED)
    # So many draws of each case are those of as many cases drawn.
    draws_RP = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    ratios_R = (draws_RP @ above_P) / (draws_RP @ below_P)
    low, high = np.quantile(ratios_R, (0.025, 0.975)).tolist()
    return Estimate(p50=float(above_P.sum() / below_P.sum()), low95=low, high95=high, n=count)


def mean_difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean of the differences of pairs, with a normal interval; for many pairs."""
    differences_P = np.subtract(after, before, dtype=float)
    mean = float(differences_P.mean())
    half = 1.96 * float(differences_P.std()) / len(differences_P) ** 0.5
    return Estimate(p50=mean, low95=mean - half, high95=mean + half, n=len(differences_P))


def mean(values: Sequence[float]) -> Estimate:
    """Mean of values, with a normal interval; for many values."""
    return mean_difference(values, [0.0] * len(values))


def resampled_halves(values: Sequence[float]) -> Estimate:
    """Mean over random splits into halves for fit and test, with a 95 percent interval.

    The splits overlap, so their spread alone would promise too much: the variance is corrected by
    the ratio of test to fit size, here 1 (Nadeau and Bengio, Machine Learning 52, 2003, equation
    for the corrected resampled t-test).

    Args:
        values: one a split, at least two.
    """
    # Rows can be made on a machine that has no SciPy.
    from scipy.stats import t as student_t

    count = len(values)
    center, variance = float(np.mean(values)), float(np.var(values, ddof=1))
    half = float(student_t.ppf(0.975, count - 1)) * ((1 / count + 1.0) * variance) ** 0.5
    return Estimate(p50=center, low95=center - half, high95=center + half, n=count)
