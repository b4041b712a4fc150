"""What one score of the same answers gains over another, with paired bootstrap intervals.

Shape legend: N answers, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.harness.estimates import Estimate
from cascadia_sglang.calibration.fit.statistics import Metric, auroc
from cascadia_sglang.calibration.record.pool import BoolArray
from cascadia_sglang.judge.state import FloatArray

_SEED = 0
_AUROC_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedEstimates:
    """A metric of two scores and their difference; `gain` is `after` less `before`."""

    before: Estimate
    after: Estimate
    gain: Estimate


def paired(
    metric: Metric,
    before_N: FloatArray,
    after_N: FloatArray,
    right_N: BoolArray,
    resamples: int,
) -> PairedEstimates:
    """Both scores are measured on every resample of the answers; 95 percent intervals.

    A resample on which a metric is not defined is left out.
    """
    rng = np.random.default_rng(_SEED)
    count = len(right_N)
    measured_R = []
    for _ in range(resamples):
        rows = rng.integers(count, size=count)
        right = right_N[rows]
        before, after = metric(before_N[rows], right), metric(after_N[rows], right)
        measured_R.append((before, after, after - before))
    low_3, high_3 = np.nanquantile(measured_R, (0.025, 0.975), axis=0).tolist()
    before, after = metric(before_N, right_N), metric(after_N, right_N)
    estimates = (
        Estimate(p50=float(value), low95=low, high95=high, n=count)
        for value, low, high in zip((before, after, after - before), low_3, high_3, strict=True)
    )
    return PairedEstimates(**dict(zip(("before", "after", "gain"), estimates, strict=True)))


def auroc_difference(first_N: FloatArray, other_N: FloatArray, right_N: BoolArray) -> Estimate:
    """AUROC of `first_N` less that of `other_N`."""
    return paired(auroc, other_N, first_N, right_N, _AUROC_RESAMPLES).gain
