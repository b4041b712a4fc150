"""Which answers a choice of what climbs makes right: the served one, a threshold's, chance's.

Shape legend: N questions of one mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Accuracies of ways to let the same number of questions climb, by the same answers.

    Attributes:
        served: of what the server let climb.
        threshold: of the questions of the lowest ranks, which the best fixed threshold at this
            share lets climb; it is known in hindsight only.
        random: expected, of questions drawn by lot.
    """

    served: float
    threshold: float
    random: float

    @property
    def of_the_way(self) -> float:
        """How far the served choice came from chance to the threshold; NaN where they are equal."""
        way = self.threshold - self.random
        return (self.served - self.random) / way if way else float("nan")


def compare(
    climbed_N: BoolArray, rank_N: FloatArray, small_right_N: BoolArray, large_right_N: BoolArray
) -> Choice:
    """Compare the served choice with the others at the share that climbed.

    Args:
        rank_N: of the small model's answers; of equal ranks the earlier question climbs first.
    """
    count = int(climbed_N.sum())
    lowest_N = np.zeros(len(rank_N), dtype=bool)
    lowest_N[np.argsort(rank_N, kind="stable")[:count]] = True
    share = count / len(rank_N)
    return Choice(
        served=_accuracy(climbed_N, small_right_N, large_right_N),
        threshold=_accuracy(lowest_N, small_right_N, large_right_N),
        random=float((1 - share) * small_right_N.mean() + share * large_right_N.mean()),
    )


def _accuracy(climbs_N: BoolArray, small_right_N: BoolArray, large_right_N: BoolArray) -> float:
    return float(np.where(climbs_N, large_right_N, small_right_N).mean())
