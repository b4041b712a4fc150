"""Accuracy against calls of the strong model: APGR and CPT, as RouteLLM defines them.

Ong et al., RouteLLM (arXiv 2406.18665, section 3.2): a router recovers of the gap between the
models' accuracies the share (its own - the weak model's) / (the strong model's - the weak model's);
APGR is the mean of that over the share of calls that go to the strong model, CPT(x) the least share
of calls that recovers x of the gap. As there, the curve has a point every tenth of the calls and is
straight in between.

Shape legend: N prompts, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a router recovers: `gap_P[i]` of the gap with the share `calls_P[i]` of strong calls."""

    calls_P: FloatArray
    gap_P: FloatArray

    def apgr(self) -> float:
        """Average performance gap recovered: the area under the curve; 0.5 at random."""
        return float(np.trapezoid(self.gap_P, self.calls_P))

    def cpt(self, gap: float) -> float:
        """Least share of strong calls that recovers this share of the gap."""
        index = int(np.argmax(self.gap_P >= gap))
        if index == 0:
            return float(self.calls_P[0])
        segment = slice(index - 1, index + 1)
        return float(np.interp(gap, self.gap_P[segment], self.calls_P[segment]))


def curve(need_N: FloatArray, weak_N: BoolArray, strong_N: BoolArray, bins: int = BINS) -> Curve:
    """The curve of a router that sends the prompts of greatest need to the strong model.

    Prompts of equal need are one: their share of the strong calls gains the mean of them all.

    Args:
        need_N: how much each prompt needs the strong model, by any measure.
        weak_N, strong_N: whether each model answers it right.
        bins: points but the first, evenly over the share of strong calls.

    Raises:
        ValueError: if the strong model is no better than the weak one.
    """
    gain_N = strong_N.astype(float) - weak_N
    if gain_N.sum() <= 0:
        raise ValueError("the strong model answers no more prompts right than the weak one")
    needs_U, kind_N, size_U = np.unique(-need_N, return_inverse=True, return_counts=True)
    gain_U = np.bincount(kind_N, weights=gain_N, minlength=len(needs_U))
    calls = np.append(0, np.cumsum(size_U)) / len(need_N)
    gap = np.append(0, np.cumsum(gain_U)) / gain_N.sum()
    calls_P = np.linspace(0.0, 1.0, bins + 1)
    return Curve(calls_P=calls_P, gap_P=np.interp(calls_P, calls, gap))
