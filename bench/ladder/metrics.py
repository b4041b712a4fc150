"""How good a score is as a probability of being right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def auroc(score_N: FloatArray, right_N: BoolArray) -> float:
    """Chance that a right answer scores above a wrong one, ties counting half; NaN if one kind."""
    wrong, right = np.sort(score_N[~right_N]), score_N[right_N]
    if not len(wrong) or not len(right):
        return float("nan")
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / 2 / len(wrong))


def brier(score_N: FloatArray, right_N: BoolArray) -> float:
    """Mean squared distance between score and outcome."""
    return float(np.mean((score_N - right_N) ** 2))


def ece(score_N: FloatArray, right_N: BoolArray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass."""
    order = np.argsort(score_N, kind="stable")
    gaps = [
        len(part) * abs(score_N[part].mean() - right_N[part].mean())
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / len(score_N))
