"""Watches whether the features of a tier's answers still have the means of its calibration.

A score that never saw a kind of prompt is often as sure of itself as before, so its distribution
may not tell. The features do: Hotelling's T² of the window's mean against the calibration's
(Hotelling 1931, Annals of Mathematical Statistics 2).

Shape legend: F base features, N answers, W answers of the window.
"""

from collections import deque
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.features import FEATURES

WINDOW = 2000
LEAST_ANSWERS = 200
# False alarms of one look, where nothing has changed: at most one in a thousand.
ALPHA = 0.001
# Smallest standard deviation that counts: a feature that never varied in a small sample may vary.
LEAST_SCALE = 0.05
# Correlations are drawn to 0 by this share; the features nearly repeat each other.
SHRINKAGE = 0.1


class FeatureSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Means and correlations of the base features of answers that reach a tier."""

    mean: list[float]
    """Mean of each feature."""
    scale: list[float]
    """Standard deviation of each feature."""
    correlation: list[list[float]]
    """Correlations of the features, one row per feature, each shrunk towards 0 by a tenth."""
    samples: int
    """Answers behind these numbers."""
    limit: float
    """Limit of Hotelling's T². Windows of the same answers exceed it once in a thousand looks."""

    def __post_init__(self) -> None:
        lengths = {len(self.mean), len(self.scale), len(self.correlation)}
        lengths |= {len(row) for row in self.correlation}
        if lengths != {len(FEATURES)}:
            raise ValueError(f"mean, scale and correlation need {len(FEATURES)} numbers each")
        if min(self.scale) <= 0 or self.samples <= len(FEATURES) or self.limit <= 0:
            raise ValueError(
                f"scale and limit must be positive, and samples more than {len(FEATURES)}"
            )
        correlation_FF = np.array(self.correlation)
        is_symmetric = np.array_equal(correlation_FF, correlation_FF.T)
        if not (is_symmetric and np.linalg.eigvalsh(correlation_FF).min() > 0):
            raise ValueError("correlation must be symmetric and positive definite")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureShift:
    """How far the mean features of the last answers are from the calibration's.

    Attributes:
        answers: how many were looked at.
        distance: Hotelling's T².
        limit: of it.
    """

    answers: int
    distance: float
    limit: float

    @property
    def is_alarm(self) -> bool:
        return self.distance > self.limit


class FeatureWatch:
    """The features of the last answers of one tier, beside its calibration's summary."""

    def __init__(self, summary: FeatureSummary) -> None:
        self._summary = summary
        self._mean_F, self._scale_F = np.array(summary.mean), np.array(summary.scale)
        self._inverse_FF = np.linalg.inv(np.array(summary.correlation))
        self._window: deque[FloatArray] = deque()
        self._sum_F = np.zeros(len(FEATURES))

    def add(self, features: list[float]) -> None:
        """Take the F base features of one more finished answer; all are finite."""
        standard_F = (np.array(features) - self._mean_F) / self._scale_F
        self._window.append(standard_F)
        self._sum_F += standard_F
        if len(self._window) > WINDOW:
            self._sum_F -= self._window.popleft()

    def shift(self) -> FeatureShift | None:
        """How far off the window is; None while it holds too few answers to say."""
        count = len(self._window)
        if count < LEAST_ANSWERS:
            return None
        mean_F = self._sum_F / count
        samples = self._summary.samples
        # The calibration's means are of a sample too.
        weight = count * samples / (count + samples)
        distance = weight * float(mean_F @ self._inverse_FF @ mean_F)
        return FeatureShift(answers=count, distance=distance, limit=self._summary.limit)
