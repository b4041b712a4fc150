"""How well a sample knows a plan: intervals of its quality and shares.

Shape legend: N rows of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.binomial_bounds import lower_bound, upper_bound
from cascadia_sglang.planner.plan import SampleFacts, ShareInterval
from cascadia_sglang.planner.thresholds.certificate import effective_rows
from cascadia_sglang.planner.thresholds.replay import Sample

# Of each side of an interval, and of a certificate.
SIDE_ERROR, CERTIFICATE_ERROR = 0.025, 0.05


def sample_facts(sample: Sample, thresholds: Sequence[float]) -> SampleFacts:
    """Intervals of quality and shares under some thresholds, and what the rows can certify."""
    waiting_N = np.ones(len(sample.weight_N), dtype=bool)
    shares = [ShareInterval(low=1.0, high=1.0)]
    for tier, threshold in enumerate(thresholds):
        waiting_N &= ~accepts(sample.scores_NS[:, tier], threshold)
        shares.append(interval(waiting_N.astype(np.float64), sample.weight_N))
    rows = len(sample.weight_N)
    certifying = rows // 2
    return SampleFacts(
        rows=rows,
        quality=interval(sample.answered(thresholds), sample.weight_N),
        shares=shares,
        certifiable=CERTIFICATE_ERROR ** (1.0 / certifying) if certifying else 0.0,
    )


def interval(values_N: FloatArray, weight_N: FloatArray) -> ShareInterval:
    """Where the mean of values in [0, 1] lies, with 95 % confidence.

    Right or wrong answers of equal weight: Clopper and Pearson's interval. Otherwise Hoeffding's,
    with the effective number of rows.
    """
    rows, mean = len(values_N), float(weight_N @ values_N) / float(weight_N.sum())
    if bool(np.isin(values_N, (0.0, 1.0)).all()) and bool(np.ptp(weight_N) == 0.0):
        count = round(mean * rows)
        return ShareInterval(
            low=lower_bound(count, rows, SIDE_ERROR), high=upper_bound(count, rows, SIDE_ERROR)
        )
    margin = math.sqrt(-math.log(SIDE_ERROR) / (2.0 * effective_rows(weight_N)))
    return ShareInterval(low=max(0.0, mean - margin), high=min(1.0, mean + margin))
