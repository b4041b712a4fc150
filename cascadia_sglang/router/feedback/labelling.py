"""Which prompts are labelled, decided before anything is known of their answers.

What is drawn, and whether there is room for it, is settled when a prompt arrives. So the chance of
a label depends on the way that the prompt takes and on nothing else of its answers.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any

import msgspec

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.self_calibration.label import Label, LabelRates, VisitLabel

# Why an answer of a tier below the last goes out where the judge, and nothing else, decides.
ACCEPTED = ("accepted", "committed", "truncated")
# Why one of the last tier does, which is its own answer then.
LAST = ("last_tier", "verified")
# Features are kept to this many digits, about what float32 logits carry.
_DIGITS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A prompt that may be labelled, or whose accepted answer may be given again.

    Attributes:
        config: that it climbs with.
        is_labelled: whether its attempts carry their features.
        has_room: whether the last tier was idle as it arrived.
        is_drawn: whether the last tier is asked too where a tier below answers.
        draw: see `Label.draw`.
    """

    config: CascadeConfig
    rates: LabelRates
    is_labelled: bool
    has_room: bool
    is_drawn: bool
    draw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledVisit:
    """A tier's whole answer, as a label needs it."""

    tier: int
    score: float
    text: str
    token_ids: tuple[int, ...]
    record: dict[str, Any]

    def labelled(self, same: bool | None, likelihood: float | None) -> VisitLabel:
        """With what is known of the last tier's opinion."""
        return VisitLabel(
            tier=self.tier,
            tokens=self.record["tokens"],
            features=[[_short(value) for value in row] for row in self.record["features"]],
            same=same,
            likelihood=None if likelihood is None else _short(likelihood),
        )


def draw_ticket(
    random: Random, rates: LabelRates, config: CascadeConfig, *, labels: bool, has_room: bool
) -> Ticket | None:
    """Of a prompt that arrives; None where it is not drawn.

    Args:
        labels: whether labels are wanted at all, or only a look at accepted answers.
    """
    if random.random() >= rates.attempts:
        return None
    is_labelled = labels and has_room
    return Ticket(
        config=_labelling(config) if is_labelled else config,
        rates=rates,
        is_labelled=is_labelled,
        has_room=has_room,
        is_drawn=random.random() < rates.accepted,
        draw=random.random(),
    )


def visits_of(attempts: Sequence[Attempt], tiers: frozenset[int]) -> list[LabelledVisit]:
    """The whole answers of these tiers that a judge rated, with their features."""
    visits = []
    for attempt in attempts:
        record = attempt.record
        if attempt.tier_index not in tiers or attempt.score is None or not attempt.is_whole:
            continue
        token_ids = attempt.outputs[0].get("output_ids")
        if record is None or not record["tokens"] or not token_ids:
            continue
        visits.append(
            LabelledVisit(
                tier=attempt.tier_index,
                score=attempt.score,
                text=str(attempt.outputs[0].get("text", "")),
                token_ids=tuple(token_ids),
                record=record,
            )
        )
    return visits


def label_of(
    ticket: Ticket, prompt_ids: Sequence[int], visits: list[VisitLabel], *, reached_last: bool
) -> Label:
    """The label of a prompt; nothing of its text is in it."""
    rates = ticket.rates
    return Label(
        prompt=blake2b(array("q", prompt_ids).tobytes(), digest_size=8).hexdigest(),
        chance=rates.attempts if reached_last else rates.least_chance,
        least_chance=rates.least_chance,
        draw=ticket.draw,
        visits=visits,
    )


def _labelling(config: CascadeConfig) -> CascadeConfig:
    """The same cascade, in which every attempt runs to its end and carries its features."""
    return msgspec.structs.replace(
        config,
        routing=msgspec.structs.replace(config.routing, early_abort=None),
        judge=msgspec.structs.replace(config.judge, record=True),
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
