"""The draft that goes along with an attempt."""

from typing import Any, NamedTuple

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.verify.worth import DraftWorth


class Offer(NamedTuple):
    """What an attempt is given to read.

    Attributes:
        token_ids: of the draft; empty for none.
        confirm_at: as `AttemptOrder` has it.
    """

    token_ids: tuple[int, ...] = ()
    confirm_at: float | None = None


def draft_for(
    tier_index: int,
    sample: Any,
    attempts: list[Attempt],
    engine: Engine,
    worth: DraftWorth | None,
    config: CascadeConfig,
    controls: Controls,
) -> Offer:
    """The last answer of the tiers below, where the tier is to read it."""
    if worth is None:
        return Offer()
    written = [one for one in attempts if one.outputs and one.tier_index < tier_index]
    if not written or not engine.takes_draft(sample, tier_index):
        return Offer()
    last = written[-1]
    token_ids = last.outputs[0].get("output_ids")
    if not token_ids:
        return Offer()
    # `drafts.low` is a chance, and a rank is none.
    score = None if last.calibrated is False else last.score
    if not worth.is_worth_reading(tier_index, score, engine.draft_break_even(tier_index)):
        return Offer()
    # Drafts of a tier further below are others than those that the second judge was fitted on.
    is_known = last.tier_index == tier_index - 1
    return Offer(tuple(token_ids), _confirm_at(tier_index, config, controls) if is_known else None)


def _confirm_at(tier_index: int, config: CascadeConfig, controls: Controls) -> float | None:
    """A client's own threshold holds for drafts too, where it is the higher one."""
    least = config.drafts().second_judge
    if least is None or config.tiers[tier_index].draft_calibration is None:
        return None
    return least if controls.threshold is None else max(least, controls.threshold)


def learn(worth: DraftWorth | None, draft: tuple[int, ...], attempt: Attempt) -> None:
    """Tell what became of a draft that an attempt was given."""
    if worth is not None and attempt.draft is not None:
        told = attempt.draft
        worth.found(attempt.tier_index, len(draft), told.kept, confirmed=told.confirmed)
