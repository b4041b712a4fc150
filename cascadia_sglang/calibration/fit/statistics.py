"""How good a score is as a probability of being right, with intervals.

Shape legend: N answers, R resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray

Metric = Callable[[FloatArray, BoolArray], float]

RESAMPLES = 400
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number on `n` answers and the ends of its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int


def auroc(score_N: FloatArray, right_N: BoolArray, weight_N: FloatArray | None = None) -> float:
    """Chance that a right answer scores above a wrong one, ties counting half; NaN if one kind.

    Args:
        weight_N: answers that each stands for; 1 where not given.
    """
    weight_N = np.ones(len(score_N)) if weight_N is None else weight_N
    order = np.argsort(score_N[~right_N])
    wrong, wrong_weight = score_N[~right_N][order], weight_N[~right_N][order]
    right, right_weight = score_N[right_N], weight_N[right_N]
    if not len(wrong) or not len(right):
        return float("nan")
    below = np.concatenate(([0.0], np.cumsum(wrong_weight)))
    places = [np.searchsorted(wrong, right, side) for side in ("left", "right")]
    beaten = (below[places[0]] + below[places[1]]) / 2 / below[-1]
    return float(np.average(beaten, weights=right_weight))


def brier(score_N: FloatArray, right_N: BoolArray) -> float:
    """Mean squared distance between score and outcome."""
    return float(np.mean((score_N - right_N) ** 2)) if len(score_N) else float("nan")


def ece(
    score_N: FloatArray,
    right_N: BoolArray,
    bins: int = 15,
    weight_N: FloatArray | None = None,
) -> float:
    """Expected calibration error over bins of equal mass (Naeini et al. 2015, AAAI, section 3).

    Args:
        weight_N: answers that each stands for; 1 where not given.
    """
    if not len(score_N):
        return float("nan")
    order = np.argsort(score_N, kind="stable")
    if weight_N is None:
        weight_N = np.ones(len(score_N))
        parts = np.array_split(order, bins)
    else:
        mass = np.cumsum(weight_N[order]) / weight_N.sum()
        ends = np.searchsorted(mass, np.arange(1, bins) / bins, "right")
        parts = np.split(order, ends)
    gaps = [
        abs(float(weight_N[part] @ (score_N[part] - right_N[part]))) for part in parts if len(part)
    ]
    return float(sum(gaps) / weight_N.sum())


def accuracy_rejection_area(score_N: FloatArray, right_N: BoolArray) -> float:
    """Area under accuracy against the share rejected (Nadeem et al. 2009, PMLR 8, section 2).

    The mean, over m from 1 to N, of the accuracy of the m answers that score highest. Answers of
    one score are equally likely to be kept, so each counts as the mean of its ties.
    """
    if not len(score_N):
        return float("nan")
    _, place_N, count = np.unique(-score_N, return_inverse=True, return_counts=True)
    share = np.bincount(place_N, weights=right_N) / count
    kept_right_N = np.cumsum(np.repeat(share, count))
    return float(np.mean(kept_right_N / np.arange(1, len(score_N) + 1)))


METRICS: dict[str, Metric] = {
    "auroc": auroc,
    "ece": ece,
    "brier": brier,
    "accuracy_rejection_area": accuracy_rejection_area,
}


def measure(score_N: FloatArray, right_N: BoolArray) -> dict[str, Interval]:
    """Every metric, with percentile-bootstrap intervals over the answers."""
    rng = np.random.default_rng(_SEED)
    count = len(score_N)
    picks_RN = rng.integers(max(count, 1), size=(RESAMPLES if count else 0, count))
    intervals = {}
    for name, metric in METRICS.items():
        resampled_R = np.array([metric(score_N[pick_N], right_N[pick_N]) for pick_N in picks_RN])
        kept_R = resampled_R[np.isfinite(resampled_R)]
        low, high = np.quantile(kept_R, (0.025, 0.975)) if len(kept_R) else (np.nan, np.nan)
        intervals[name] = Interval(
            value=metric(score_N, right_N), low=float(low), high=float(high), n=count
        )
    return intervals
