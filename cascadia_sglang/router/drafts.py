"""The draft that goes along with an attempt."""

from typing import Any

from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.verify.worth import DraftWorth


def draft_for(
    tier_index: int,
    sample: Any,
    attempts: list[Attempt],
    engine: Engine,
    worth: DraftWorth | None,
) -> tuple[int, ...]:
    """The last answer of the tiers below, where the tier is to read it; empty otherwise."""
    if worth is None:
        return ()
    written = [one for one in attempts if one.outputs and one.tier_index < tier_index]
    if not written or not engine.takes_draft(sample, tier_index):
        return ()
    token_ids = written[-1].outputs[0].get("output_ids")
    if not token_ids:
        return ()
    break_even = engine.draft_break_even(tier_index)
    if not worth.is_worth_reading(tier_index, written[-1].score, break_even):
        return ()
    return tuple(token_ids)


def learn(worth: DraftWorth | None, draft: tuple[int, ...], attempt: Attempt) -> None:
    """Tell what became of a draft that an attempt was given."""
    if worth is not None and attempt.kept is not None:
        worth.found(attempt.tier_index, len(draft), attempt.kept)
