"""What other thresholds would do to traffic like that of the window, from the planner's sample.

The sample's prompts were answered by every tier, so thresholds that never served can be replayed on
it. Weights make it look like the window, as for a plan (`planner.online.weighted_sample`).

Shape legend: N rows of the sample, T tiers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.page.score_shapes import wilson
from cascadia_sglang.planner.online.weighted_sample import EntryWindow, weighted_sample
from cascadia_sglang.planner.thresholds.certificate import effective_rows
from cascadia_sglang.planner.thresholds.replay import Replay, Sample
from cascadia_sglang.planner.thresholds.sample import PlanSample

_Z95 = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Thresholds, and what they make of a weighted sample.

    Attributes:
        quality: share of right answers; `low` and `high` are Wilson's 95 % interval over the
            effective rows.
        shares: of the requests that reach each tier.
        cost: mean over the requests of the tiers' costs; None where one is not known.
    """

    thresholds: list[float]
    quality: float
    low: float
    high: float
    shares: list[float]
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Two choices of thresholds on one sample.

    Attributes:
        rows: of the sample.
        effective_rows: that the weighted sample is worth.
        is_weighted: whether the window was large enough, and like the sample, to weight it.
        window: requests of it.
        difference: of the second choice's quality less the first's.
        difference_low, difference_high: its 95 % interval over the same rows, which cancels what
            both have in common.
    """

    rows: int
    effective_rows: float
    is_weighted: bool
    window: int
    now: Prediction
    then: Prediction
    difference: float
    difference_low: float
    difference_high: float


def what_if(
    sample: PlanSample,
    window: EntryWindow,
    now: Sequence[float],
    then: Sequence[float],
    cost_T: Sequence[float | None],
) -> WhatIf:
    """Replay both choices.

    Args:
        window: requests that began at the first tier lately.
        now, then: thresholds of every tier but the last.
        cost_T: of an attempt at each tier, in any unit.
    """
    weighted = weighted_sample(sample, window.values(sample)) if window.is_enough else None
    graded = sample.graded() if weighted is None else weighted.graded
    first, second = (graded.answered(thresholds) for thresholds in (now, then))
    difference, spread = paired_difference(second, first, graded)
    return WhatIf(
        rows=len(graded.weight_N),
        effective_rows=effective_rows(graded.weight_N),
        is_weighted=weighted is not None,
        window=len(window),
        now=predicted(graded, now, cost_T),
        then=predicted(graded, then, cost_T),
        difference=difference,
        difference_low=difference - spread,
        difference_high=difference + spread,
    )


def predicted(
    graded: Sample, thresholds: Sequence[float], cost_T: Sequence[float | None]
) -> Prediction:
    """What some thresholds make of a sample."""
    quality = graded.mean(graded.answered(thresholds))
    low, high = wilson(quality, effective_rows(graded.weight_N))
    replay = Replay(graded, [np.array([value]) for value in thresholds])
    shares = replay.shares((0,) * len(thresholds))
    costs = [cost for cost in cost_T if cost is not None]
    is_known = len(costs) == len(shares)
    return Prediction(
        thresholds=list(thresholds),
        quality=quality,
        low=low,
        high=high,
        shares=shares,
        cost=math.fsum(a * b for a, b in zip(shares, costs, strict=True)) if is_known else None,
    )


def paired_difference(then_N: FloatArray, now_N: FloatArray, graded: Sample) -> tuple[float, float]:
    """The weighted mean of `then - now`, and half its normal 95 % interval.

    Rows of equal prompts count as one draw.
    """
    weight_N = graded.weight_N
    total = float(weight_N.sum())
    gap_N = then_N - now_N
    mean = float(weight_N @ gap_N) / total
    sums = np.bincount(graded.prompt_N, weight_N * (gap_N - mean))
    return mean, _Z95 * float(np.sqrt(np.square(sums).sum())) / total


def as_json(comparison: WhatIf, costs: Sequence[float | None]) -> dict[str, Any]:
    """For the page."""
    return {
        "rows": comparison.rows,
        "effective_rows": round(comparison.effective_rows, 1),
        "is_weighted": comparison.is_weighted,
        "window": comparison.window,
        "attempt_s": list(costs),
        "now": _prediction(comparison.now),
        "then": _prediction(comparison.then),
        "difference": round(comparison.difference, 6),
        "difference_interval": [
            round(comparison.difference_low, 6),
            round(comparison.difference_high, 6),
        ],
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "thresholds": prediction.thresholds,
        "quality": round(prediction.quality, 6),
        "interval": [round(prediction.low, 6), round(prediction.high, 6)],
        "shares": [round(share, 6) for share in prediction.shares],
        "cost": None if prediction.cost is None else round(prediction.cost, 6),
    }
