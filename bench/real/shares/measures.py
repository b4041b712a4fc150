"""What a live run shows: the share that climbed, window by window, and how it was chosen.

Shape legend: N questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.real.checker import is_right
from bench.real.observed import TIERS, ModelAnswers
from bench.real.questions import MIXES, RealQuestion
from bench.real.shares.choices import Choice, compare
from bench.real.shares.replies import Reply
from cascadia_sglang.arrays import BoolArray, FloatArray

ASKED = 0.3  # the default of `routing.escalation_rate`
WINDOW = 200
MIX_TOLERANCE = 0.04
WINDOW_TOLERANCE = 0.08
THRESHOLD_TOLERANCE = 0.02
LEAST_WAY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Consecutive questions in order of arrival; `is_after_change`: the mix is new."""

    first: int
    climbed: float
    is_after_change: bool

    @property
    def is_kept(self) -> bool:
        return self.is_after_change or abs(self.climbed - ASKED) <= WINDOW_TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class MixMeasures:
    """One mix of a live run.

    Attributes:
        climbed: share of its questions that the last tier answered.
        right_N: whether each answer that the client got is right.
        alone: accuracy of each tier alone, by the recorded answers.
        choice: by the recorded answers, so that all its accuracies are of the same texts.
        same_text: share of the answers of the small model whose text is the recorded one.
        rank_gap: median distance of the rank in the header from the recorded answer's, of those.
    """

    mix: str
    climbed: float
    windows: tuple[Window, ...]
    right_N: BoolArray
    alone: Mapping[str, float]
    choice: Choice
    same_text: float
    rank_gap: float

    @property
    def served(self) -> float:
        """Accuracy of what the client got."""
        return float(self.right_N.mean())

    @property
    def of_the_way(self) -> float:
        """How far what the client got came from chance to the threshold."""
        way = self.choice.threshold - self.choice.random
        return (self.served - self.choice.random) / way if way else float("nan")

    @property
    def is_share_kept(self) -> bool:
        return abs(self.climbed - ASKED) <= MIX_TOLERANCE and all(w.is_kept for w in self.windows)

    @property
    def is_chosen_well(self) -> bool:
        is_near = self.served >= self.choice.threshold - THRESHOLD_TOLERANCE
        return is_near and not self.of_the_way < LEAST_WAY


def measure(
    questions: Sequence[RealQuestion],
    replies: Sequence[Reply],
    observed: Mapping[str, ModelAnswers],
    rank_N: FloatArray,
) -> list[MixMeasures]:
    """Measure every mix.

    Args:
        questions: in the order of arrival, one mix after the other.
        replies, observed, rank_N: in the same order; the ranks are of the small model's recorded
            answers.
    """
    mixes = np.array([question.mix for question in questions])
    climbed_N = np.array([reply.tier == TIERS[-1] for reply in replies])
    right_N = np.array(
        [is_right(r.text, q.answers) for q, r in zip(questions, replies, strict=True)], dtype=bool
    )
    score_N = np.array([np.nan if r.score is None else r.score for r in replies])
    texts = observed["small"].texts
    same_N = np.array([r.text == text for r, text in zip(replies, texts, strict=True)])
    mixes_measures = []
    for number, mix in enumerate(MIXES):
        own_N = mixes == mix
        accepted_N = own_N & ~climbed_N
        same = accepted_N & same_N
        right = {tier: seen.right_N[own_N] for tier, seen in observed.items()}
        mixes_measures.append(
            MixMeasures(
                mix=mix,
                climbed=float(climbed_N[own_N].mean()),
                windows=_windows(climbed_N[own_N], int(np.argmax(own_N)), number > 0),
                right_N=right_N[own_N],
                alone={tier: float(tier_right.mean()) for tier, tier_right in right.items()},
                choice=compare(climbed_N[own_N], rank_N[own_N], right["small"], right["large"]),
                same_text=_mean(same_N[accepted_N]),
                rank_gap=_median(np.abs(score_N - rank_N)[same]),
            )
        )
    return mixes_measures


def _windows(climbed_N: BoolArray, first: int, is_after_change: bool) -> tuple[Window, ...]:
    return tuple(
        Window(
            first=first + start,
            climbed=float(climbed_N[start : start + WINDOW].mean()),
            is_after_change=is_after_change and start == 0,
        )
        for start in range(0, len(climbed_N), WINDOW)
    )


def _mean(values: BoolArray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
