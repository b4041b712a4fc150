"""A sample weighted so that it stands for a window, and candidate thresholds from it. Pure.

The weights come from `cascadia_sglang.planner.thresholds.raking`. Qualities and shares are then
those of traffic like the window's, also under thresholds that never served.

Shape legend: N prompts of the sample, T tiers, R requests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.paths import Paths, climbing_paths
from cascadia_sglang.planner.thresholds.raking import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SCORE,
    fit_window,
)
from cascadia_sglang.planner.thresholds.replay import Position, Replay, Sample, threshold_grid
from cascadia_sglang.planner.thresholds.sample import PlanSample

# Places of the grid that are looked at, at most; fewer points a tier where there are many tiers.
MOST_PLACES = 2_000
MOST_POINTS = 41
# Requests of a window from which on it may weight a sample.
LEAST_SCORED = 50
# How much more a request costs at each further tier: for each of these worths one candidate.
_STEEPNESS = (1.5, 3.0, 6.0, 12.0, 24.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryWindow:
    """Requests that began at the first tier and were judged there.

    Attributes:
        scores: of the whole answers.
        input_tokens: of these requests' prompts, then of those whose answer was ended early.
        output_tokens: of the whole answers.
        ended: answers that the judge ended early.
        threshold: of the first tier.
    """

    scores: Sequence[float]
    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    ended: int
    threshold: float

    def __len__(self) -> int:
        return len(self.scores) + self.ended

    @property
    def is_enough(self) -> bool:
        """Whether it may weight a sample."""
        return bool(self.scores) and len(self) >= LEAST_SCORED

    def values(self, sample: PlanSample) -> dict[str, FloatArray]:
        """What `weighted_sample` takes, with a score for the answers that were ended early."""
        score_N = sample.entry_values()[SCORE]
        ended = scores_of_ended(self.ended, score_N, self.threshold)
        return {
            SCORE: np.concatenate((np.asarray(self.scores, np.float64), ended)),
            INPUT_TOKENS: np.asarray(self.input_tokens, np.float64),
            # An answer that was ended early says nothing of its length.
            OUTPUT_TOKENS: np.asarray(self.output_tokens, np.float64),
        }


def scores_of_ended(count: int, score_N: FloatArray, threshold: float) -> FloatArray:
    """Scores for answers that were ended because they would not reach the threshold: the sample's
    below it, evenly."""
    below = score_N[~accepts(score_N, threshold)]
    if not count or not len(below):
        return np.zeros(count)
    return np.quantile(below, (np.arange(count) + 0.5) / count).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateThresholds:
    """Thresholds of every tier but the last, and the quality of traffic like the window's."""

    values: tuple[float, ...]
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSample:
    """A sample that stands for a window.

    Attributes:
        graded: scores and labels, weighted.
        input_tokens_N, tokens_NT: lengths of the prompts and of every tier's answers.
    """

    graded: Sample
    input_tokens_N: IntArray
    tokens_NT: IntArray
    effective_size: float

    def quality(self, thresholds: Sequence[float]) -> float:
        """Weighted share of right answers under these thresholds."""
        return self.graded.mean(self.graded.answered(thresholds))

    def candidates(self, floor: float) -> list[CandidateThresholds]:
        """Those that keep the floor at the least share of requests at higher tiers, a few.

        How much a tier weighs is left open: for each of several worths the cheapest position of a
        grid of score quantiles is one of them. Empty where nothing keeps the floor.
        """
        judged = self.graded.scores_NS.shape[1]
        points = min(MOST_POINTS, max(3, int(MOST_PLACES ** (1.0 / judged))))
        replay = Replay(self.graded, threshold_grid(self.graded, points))
        reaching = [
            (np.array(replay.shares(position)), position, quality)
            for position in _positions(replay)
            if (quality := replay.quality(position)) >= floor
        ]
        cheapest: dict[Position, float] = {}
        for steepness in _STEEPNESS:
            worth_T = steepness ** np.arange(judged + 1)
            # Of equals the one of higher quality.
            best = min(
                reaching, key=lambda entry: (float(entry[0] @ worth_T), -entry[2]), default=None
            )
            if best is not None:
                cheapest[best[1]] = best[2]
        return [
            CandidateThresholds(values=tuple(replay.thresholds(position)), quality=quality)
            for position, quality in cheapest.items()
        ]

    def drawn(self, count: int, seed: int) -> IntArray:
        """Prompts of the sample, [R], by their weights and with replacement."""
        weight_N = self.graded.weight_N
        rng = np.random.default_rng(seed)
        return rng.choice(len(weight_N), count, p=weight_N / weight_N.sum())

    def paths(self, thresholds: Sequence[float], drawn_R: IntArray) -> Paths:
        """The ways of drawn requests under some thresholds; no attempt is ended early."""
        tokens_RT = self.tokens_NT[drawn_R]
        scores_RS = self.graded.scores_NS[drawn_R]
        scores_RT = np.column_stack((scores_RS, np.ones(len(drawn_R))))
        return climbing_paths(scores_RT, tokens_RT, thresholds, int(tokens_RT.max()))


def weighted_sample(sample: PlanSample, window: Mapping[str, FloatArray]) -> WeightedSample | None:
    """The sample as it stands for a window; None where too little of it, or nothing, is like that.

    Args:
        window: of the requests that began at the first tier and were scored there, as
            `PlanSample.entry_values` has them.
    """
    try:
        fit = fit_window(sample.entry_values(), window)
    except WorkloadError:
        return None
    if not fit.is_usable:
        return None
    graded = sample.graded()
    weighted = Sample(
        scores_NS=graded.scores_NS,
        correct_NT=graded.correct_NT,
        weight_N=fit.weights_N,
        prompt_N=graded.prompt_N,
    )
    return WeightedSample(
        graded=weighted,
        input_tokens_N=np.array([row.input_tokens for row in sample.rows], np.int64),
        tokens_NT=sample.output_tokens(),
        effective_size=fit.effective_size,
    )


def _positions(replay: Replay) -> Iterator[Position]:
    first, last = replay.ends
    ranges = (range(low, high + 1) for low, high in zip(first, last, strict=True))
    return itertools.product(*ranges)
