"""Watches whether a tier's scores still follow the distribution of its calibration.

Shape legend: K quantiles of the calibration, W scores of the window, P points.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.calibration import SCORE_DIGITS, Calibration

WINDOW = 2000
LEAST_SCORES = 200
# False alarms of one look, where nothing has drifted: at most one in a thousand.
ALPHA = 0.001

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the last scores are from the calibration's.

    Attributes:
        scores: how many were looked at.
        distance: largest difference of the two distribution functions (Kolmogorov-Smirnov).
        limit: what two samples of one distribution stay below but for one look in a thousand.
    """

    scores: int
    distance: float
    limit: float

    @property
    def is_alarm(self) -> bool:
        return self.distance > self.limit


class ScoreWatch:
    """The last scores of one tier's finished answers, beside its calibration's quantiles.

    The calibration's are of answers that reach the tier at the thresholds it was made for, so only
    those belong here: not of pinned requests, and not of requests with thresholds of their own.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._quantiles_K = np.array(calibration.score_quantiles)
        self._samples = calibration.quantile_samples or 0
        self._window: deque[float] = deque(maxlen=WINDOW)

    def add(self, score: float) -> None:
        """Take the score of one more finished answer."""
        self._window.append(score)

    @property
    def scores(self) -> Sequence[float]:
        """The last scores, the oldest first."""
        return self._window

    def expected_shares(self, edges: Sequence[float]) -> list[float]:
        """Share of the calibration's scores between each edge and the next; the last edge is in."""
        points_P = np.asarray(edges, np.float64)
        below_P = _probability(self._quantiles_K, points_P, "left")
        below_P[-1] = _probability(self._quantiles_K, points_P, "right")[-1]
        shares: list[float] = np.diff(below_P).round(6).tolist()
        return shares

    def drift(self) -> Drift | None:
        """How far off the window is; None while it holds too few scores to say, and where the
        calibration does not tell how many its quantiles are of."""
        count = len(self._window)
        if count < LEAST_SCORES or not self._samples:
            return None
        # Smirnov's limit for two samples; between two quantiles nothing is known of the function.
        spread = math.sqrt((count + self._samples) / (count * self._samples))
        limit = math.sqrt(-0.5 * math.log(ALPHA / 2)) * spread + 1 / (len(self._quantiles_K) - 1)
        return Drift(scores=count, distance=distance(self._quantiles_K, self._window), limit=limit)


def distance(quantiles_K: FloatArray, scores: Sequence[float] | deque[float]) -> float:
    """Largest difference between a sample's distribution function and that of some quantiles.

    Args:
        quantiles_K: ascending, at evenly spaced probabilities from 0 to 1, of scores rounded as
            the calibration's are; between two of them the function is a straight line.
        scores: at least one.
    """
    window_W = np.sort(np.round(np.fromiter(scores, np.float64), SCORE_DIGITS))
    points_P = np.unique(np.concatenate((window_W, quantiles_K)))
    gaps = []
    # On either side of every point: both functions may jump there.
    for side in SIDES:
        sample_P = np.searchsorted(window_W, points_P, side) / len(window_W)
        gaps.append(np.abs(sample_P - _probability(quantiles_K, points_P, side)).max())
    return float(max(gaps))


def _probability(quantiles_K: FloatArray, points_P: FloatArray, side: Side) -> FloatArray:
    """P(score < point) for the left side, P(score <= point) for the right."""
    last = len(quantiles_K) - 1
    above_P = np.searchsorted(quantiles_K, points_P, side)
    low_P = np.clip(above_P - 1, 0, last)
    high_P = np.clip(above_P, 0, last)
    width_P = quantiles_K[high_P] - quantiles_K[low_P]
    is_cell_P = width_P > 0.0
    past_P = points_P - quantiles_K[low_P]
    part_P = np.divide(past_P, width_P, out=np.zeros_like(width_P), where=is_cell_P)
    inside_P: FloatArray = (low_P + part_P) / last
    return np.where(above_P == 0, 0.0, inside_P)
