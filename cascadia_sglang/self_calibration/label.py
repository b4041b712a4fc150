"""A label: whether the tiers below agree with the last one on a prompt, and how it was drawn.

Labels hold features, flags and digests. No prompt and no answer is in them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cascadia_sglang.judge.features import FEATURES

# Attempts that are labelled once calibrations can end others early: those go on to their end, so
# this share of what ending early saves is lost. It is well above the share of the accepted answers
# that is labelled, so that those, and not the escalated ones, are the scarce labels.
LATER_ATTEMPTS = 0.1
# How likely an answer must be under the last tier to count as agreed with, before short answers
# have told: its tokens have, in the geometric mean, an even chance. A convention, not measured.
DEFAULT_LIKELY = math.log(0.5)


class VisitLabel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tier's answer.

    Attributes:
        tokens: at which the judge looked, ascending; the last is the whole answer's.
        features: base features after each of these; a None is a number that is not finite.
        same: whether its words are the last tier's; None where either answer is too long to tell.
        likelihood: mean log-probability of its tokens under the last tier; None where not read.
    """

    tier: int
    tokens: list[int]
    features: list[list[float | None]]
    same: bool | None = None
    likelihood: float | None = None

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.features):
            raise ValueError("tokens and features need the same number of entries, one at least")
        if any(len(row) != len(FEATURES) for row in self.features):
            raise ValueError(f"features needs rows of {len(FEATURES)} numbers")

    @property
    def kind(self) -> str:
        """What tells whether the last tier agrees: its words or its likelihood."""
        return "likelihood" if self.same is None else "words"

    def agrees(self, likely: float | None) -> bool | None:
        """Whether the last tier agrees; None where that is not known.

        Args:
            likely: least likelihood of an answer that the last tier agrees with; None while that
                is not known.
        """
        if self.same is not None:
            return self.same
        if self.likelihood is None or likely is None:
            return None
        return self.likelihood >= likely


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt whose answer by the last tier is known.

    Attributes:
        prompt: digest of the prompt's token ids.
        chance: with which a prompt that took this way was labelled, above 0 and at most 1.
        least_chance: with which one was that a tier below the last answered.
        draw: a random number from 0 to 1 of its own; see `thinned`.
        visits: the tiers below the last that answered it, in order.
    """

    prompt: str
    chance: float
    least_chance: float
    draw: float
    visits: list[VisitLabel]

    def __post_init__(self) -> None:
        if not 0.0 < self.least_chance <= self.chance <= 1.0:
            raise ValueError("least_chance and chance must be above 0, at most 1, and in order")

    @property
    def weight(self) -> float:
        """Prompts that it stands for."""
        return 1.0 / self.chance

    @property
    def is_thinned(self) -> bool:
        """Whether it belongs to the part in which every prompt had one and the same chance.

        What was labelled with the least chance is in it, of the rest a random share.
        """
        return self.draw < self.least_chance / self.chance


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRates:
    """How labels are drawn.

    Attributes:
        attempts: share of the prompts whose attempts run to their end, with their features.
        accepted: share of those, where a tier below the last answers, that the last tier is asked
            about too.
    """

    attempts: float = 0.0
    accepted: float = 0.0

    @property
    def least_chance(self) -> float:
        """Of a prompt that a tier below the last answers; the others have `attempts`."""
        return self.attempts * self.accepted


def first_rates(label_rate: float) -> LabelRates:
    """Before the first calibration: nothing can end early, so every attempt may be labelled."""
    return LabelRates(attempts=1.0, accepted=label_rate)


def later_rates(label_rate: float) -> LabelRates:
    """Once attempts can end early: the same share of the accepted answers, from fewer attempts."""
    attempts = max(LATER_ATTEMPTS, label_rate)
    return LabelRates(attempts=attempts, accepted=label_rate / attempts)


class EffectiveCount:
    """How many equally weighted labels some weighted ones are worth (Kish 1965, section 11.7)."""

    def __init__(self) -> None:
        self.labels = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, weight: float) -> None:
        self.labels += 1
        self._sum += weight
        self._squares += weight * weight

    @property
    def effective(self) -> float:
        return self._sum * self._sum / self._squares if self._squares else 0.0


def mean_likelihood(logprobs: Sequence[float]) -> float | None:
    """Mean of an answer's log-probabilities; None where there is none, or one is not a number."""
    if not logprobs or any(math.isnan(logprob) for logprob in logprobs):
        return None
    # A token that the last tier rules out counts as unlikely as float32 goes.
    return sum(max(logprob, -100.0) for logprob in logprobs) / len(logprobs)
