"""Means and correlations of features, for the watch over a tier's answers.

Shape legend: N answers, F base features.
"""

import numpy as np
from scipy.stats import f as f_distribution

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.watch.features import ALPHA, LEAST_SCALE, SHRINKAGE, FeatureSummary

_DIGITS = 6
# Fewer answers for each feature say too little of the correlations.
_ANSWERS_A_FEATURE = 5


def summarise_features(
    features_NF: FloatArray, weight_N: FloatArray | None = None, samples: int | None = None
) -> FeatureSummary | None:
    """The summary of answers that reach a tier; None where they are too few.

    Args:
        features_NF: finite.
        weight_N: answers that each stands for; 1 where not given.
        samples: how many equally weighted answers these are worth; N where not given.
    """
    count, size = features_NF.shape
    samples = count if samples is None else samples
    if min(count, samples) < _ANSWERS_A_FEATURE * size:
        return None
    mean_F = np.average(features_NF, axis=0, weights=weight_N)
    covariance_FF = np.cov(features_NF, rowvar=False, aweights=weight_N)
    scale_F = np.maximum(np.sqrt(np.diag(covariance_FF)), LEAST_SCALE)
    correlation_FF = (1.0 - SHRINKAGE) * covariance_FF / np.outer(scale_F, scale_F)
    np.fill_diagonal(correlation_FF, 1.0)
    # T² of a mean under estimated covariances follows an F distribution.
    factor = size * (samples - 1) / (samples - size)
    return FeatureSummary(
        mean=mean_F.round(_DIGITS).tolist(),
        scale=scale_F.round(_DIGITS).tolist(),
        correlation=correlation_FF.round(_DIGITS).tolist(),
        samples=samples,
        limit=round(float(factor * f_distribution.isf(ALPHA, size, samples - size)), _DIGITS),
    )
