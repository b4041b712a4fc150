"""Replays thresholds on a sample in which every tier answered every prompt.

Shape legend: N rows of the sample, T tiers, S tiers with a threshold (all but the last).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.acceptance import accepting_thresholds, accepts
from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.problem.problem import CalibrationRow

# A position on the grid of thresholds: an index per tier but the last.
Position = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Scores in [0, 1], correctness in [0, 1], and weights above 0.

    `prompt_N` numbers the prompts: equal numbers are equal prompts.
    """

    scores_NS: FloatArray
    correct_NT: FloatArray
    weight_N: FloatArray
    prompt_N: IntArray

    def rows(self, chosen_N: IntArray) -> Sample:
        """A part of the sample."""
        return Sample(
            scores_NS=self.scores_NS[chosen_N],
            correct_NT=self.correct_NT[chosen_N],
            weight_N=self.weight_N[chosen_N],
            prompt_N=self.prompt_N[chosen_N],
        )

    def mean(self, values_N: FloatArray) -> float:
        """Weighted mean of values in [0, 1] over the rows."""
        # Divided once, at the end: counts of whole rows stay exact, and meet a floor exactly.
        return float(self.weight_N @ values_N) / float(self.weight_N.sum())

    def answered(self, thresholds: Sequence[float]) -> FloatArray:
        """Correctness [N] of the answer that each prompt's request gets."""
        last = self.correct_NT.shape[1] - 1
        got_N = self.correct_NT[:, last].copy()
        # From the last to the first: an earlier tier that accepts decides.
        for tier in range(last - 1, -1, -1):
            accepts_N = accepts(self.scores_NS[:, tier], thresholds[tier])
            got_N[accepts_N] = self.correct_NT[accepts_N, tier]
        return got_N


def build_sample(rows: Sequence[CalibrationRow]) -> Sample:
    """A sample from the rows of a problem file; rows without weight are left out."""
    counted = [row for row in rows if row.weight > 0]
    numbers: dict[str | int, int] = {}
    prompts = [
        numbers.setdefault(index if row.prompt is None else row.prompt, len(numbers))
        for index, row in enumerate(counted)
    ]
    return Sample(
        scores_NS=np.array([row.scores for row in counted], dtype=np.float64).reshape(
            len(counted), -1
        ),
        correct_NT=np.array([row.correct for row in counted], dtype=np.float64),
        weight_N=np.array([row.weight for row in counted], dtype=np.float64),
        prompt_N=np.array(prompts, dtype=np.int64),
    )


def threshold_grid(sample: Sample, points: int) -> list[FloatArray]:
    """Thresholds to choose from, rising, at most `points` a tier but the last.

    Quantiles of the tier's scores; the ends are 0, which accepts everything, and 1.
    """
    levels = np.linspace(0, 1, points)[1:-1]
    grids = []
    for scores_N in sample.scores_NS.T:
        inner = (
            np.quantile(scores_N, levels, method="inverted_cdf", weights=sample.weight_N)
            if len(levels)
            else np.empty(0)
        )
        grids.append(np.unique(np.concatenate(([0.0], inner, [1.0]))))
    return grids


class Replay:
    """A sample under the thresholds of a grid, and bounds over boxes of them."""

    def __init__(self, sample: Sample, grids: Sequence[FloatArray]) -> None:
        self.grids = list(grids)
        self._sample = sample
        # How many of the tier's thresholds a score reaches: position g accepts where it is above g.
        self._reached_NS = np.stack(
            [
                accepting_thresholds(grid, scores_N)
                for grid, scores_N in zip(grids, sample.scores_NS.T, strict=True)
            ]
            or [np.zeros(len(sample.weight_N), dtype=np.int64)],
            axis=1,
        )

    @property
    def ends(self) -> tuple[Position, Position]:
        """The first and the last position of the grid."""
        return (0,) * len(self.grids), tuple(len(grid) - 1 for grid in self.grids)

    def thresholds(self, position: Position) -> list[float]:
        return [float(grid[index]) for grid, index in zip(self.grids, position, strict=True)]

    def shares(self, position: Position) -> list[float]:
        """Share of requests that reach each tier; no higher threshold lowers one."""
        waiting_N = np.ones(len(self._sample.weight_N), dtype=bool)
        shares = [1.0]
        for tier, index in enumerate(position):
            waiting_N &= self._reached_NS[:, tier] <= index
            shares.append(self._sample.mean(waiting_N.astype(np.float64)))
        return shares

    def quality(self, position: Position) -> float:
        """Mean correctness of the answers that requests get."""
        return self.best_quality(position, position)

    def last_tier_quality(self) -> float:
        """Mean correctness where every request reaches the last tier."""
        return self._sample.mean(self._sample.correct_NT[:, -1])

    def best_quality(self, low: Position, high: Position) -> float:
        """No thresholds between these positions, ends included, give a higher quality.

        Every row counts with the best of the tiers that can answer it somewhere in the box; for a
        box of one position that is its quality.
        """
        correct_NT = self._sample.correct_NT
        possible_N: BoolArray = np.ones(len(correct_NT), dtype=bool)
        best_N = np.zeros(len(correct_NT))
        for tier, (first, last) in enumerate(zip(low, high, strict=True)):
            reached_N = self._reached_NS[:, tier]
            may_N = possible_N & (reached_N > first)
            best_N[may_N] = np.maximum(best_N[may_N], correct_NT[may_N, tier])
            possible_N &= reached_N <= last
        final_N = correct_NT[possible_N, len(low)]
        best_N[possible_N] = np.maximum(best_N[possible_N], final_N)
        return self._sample.mean(best_N)

    def last_qualities(self, prefix: Position) -> FloatArray:
        """Quality by the position of the last judged tier, [G], for these positions before it."""
        sample, last = self._sample, len(prefix)
        waiting_N: BoolArray = np.ones(len(sample.weight_N), dtype=bool)
        right = 0.0
        for tier, index in enumerate(prefix):
            accepts_N = waiting_N & (self._reached_NS[:, tier] > index)
            right += float(sample.weight_N[accepts_N] @ sample.correct_NT[accepts_N, tier])
            waiting_N &= ~accepts_N
        reached_N = self._reached_NS[waiting_N, last]
        weight_N, correct_NT = sample.weight_N[waiting_N], sample.correct_NT[waiting_N]
        count = len(self.grids[last])
        own_G = np.bincount(reached_N, weight_N * correct_NT[:, last], minlength=count + 1)
        next_G = np.bincount(reached_N, weight_N * correct_NT[:, last + 1], minlength=count + 1)
        # Position g accepts what reached more than g thresholds.
        accepted_G = own_G.sum() - np.cumsum(own_G)[:count]
        escalated_G = np.cumsum(next_G)[:count]
        found_G: FloatArray = (right + accepted_G + escalated_G) / float(sample.weight_N.sum())
        return found_G
