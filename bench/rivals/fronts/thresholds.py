"""The thresholds that a user of a proxy, or of a router, would find on answered questions. Pure.

Shape legend: N questions, T tiers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

QUANTILES = 64


def cheapest(
    scores_NT: npt.NDArray[np.float64],
    right_NT: npt.NDArray[np.bool_],
    costs_T: Sequence[float],
    floor: float,
    *,
    climbs_from_below: bool = True,
    levels: int | None = QUANTILES,
) -> tuple[float, ...]:
    """Thresholds of the least mean cost whose accuracy is at least `floor`.

    Every combination of the scores' quantiles, or of the scores, is tried. An answer is accepted
    from its threshold on; the last tier's always is.

    Args:
        costs_T: of an answer of each tier.
        climbs_from_below: whether an answer costs what the tiers below it took too, as in a
            cascade; a router pays for the tier it picks alone.
        levels: quantiles of a tier's scores that are tried; None for every score.

    Returns:
        One threshold a tier but the last; the most accurate ones where none reaches the floor.
    """
    tiers = scores_NT.shape[1]
    grids = [
        [float("-inf"), *_tried(scores_NT[:, tier], levels), float("inf")]
        for tier in range(tiers - 1)
    ]
    best: tuple[float, float] | None = None  # accuracy up to the floor, and less cost
    chosen: tuple[float, ...] = ()
    for thresholds in itertools.product(*grids):
        climbs = np.ones(len(scores_NT), dtype=np.bool_)
        accuracy = cost = 0.0
        for tier in range(tiers):
            accepts = climbs.copy()
            if tier < tiers - 1:
                accepts &= scores_NT[:, tier] >= thresholds[tier]
            cost += costs_T[tier] * (climbs if climbs_from_below else accepts).mean()
            accuracy += float((right_NT[:, tier] & accepts).mean())
            climbs &= ~accepts
        value = (min(accuracy, floor), -cost)
        if best is None or value > best:
            best, chosen = value, thresholds
    return chosen


def _tried(scores_N: npt.NDArray[np.float64], levels: int | None) -> list[float]:
    tried: list[float] = (
        np.unique(scores_N) if levels is None else np.quantile(scores_N, np.linspace(0, 1, levels))
    ).tolist()
    return tried
