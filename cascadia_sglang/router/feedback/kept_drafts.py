"""How much of its drafts each tier kept, which decides on the next drafts."""

from collections.abc import Iterable

from cascadia_sglang.drafts.policy import DraftPolicy
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.events import PromptEscalated, PromptFinished


class KeptDrafts:
    """Shows what became of every draft to what decides on the next ones."""

    def __init__(self, worth: DraftPolicy) -> None:
        self._worth = worth

    def prompt_escalated(self, event: PromptEscalated) -> None:
        """Learn from the attempt that was not good enough, before the prompt is over."""
        self._learn(event.attempts[-1:])

    def prompt_finished(self, event: PromptFinished) -> None:
        """Learn from the attempt with which the prompt ended."""
        self._learn(attempt for attempt in event.attempts if not attempt.escalated)

    def _learn(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            # What the deadline cut off says nothing of the draft.
            if attempt.draft is not None and not attempt.is_cut:
                draft = attempt.draft
                self._worth.learn(
                    attempt.tier_index,
                    attempt.draft_tokens,
                    draft.kept,
                    confirmed=draft.confirmed,
                )
