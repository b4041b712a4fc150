"""How many prompts each tier answered and passed on, for the status."""

from cascadia_sglang.router.events import PromptFinished


class TierCounts:
    """Owns the counters, by tier index.

    Attributes:
        answered: prompts whose answer went out.
        escalated: attempts that were not good enough.
        judge_errors: attempts without a score although a judge should have given one.
    """

    def __init__(self, tiers: int) -> None:
        self.answered = [0] * tiers
        self.escalated = [0] * tiers
        self.judge_errors = [0] * tiers

    def prompt_finished(self, event: PromptFinished) -> None:
        """Count a prompt and its attempts."""
        for attempt in event.attempts:
            self.escalated[attempt.tier_index] += attempt.escalated
            self.judge_errors[attempt.tier_index] += attempt.judge_failed
        if event.chosen is not None:
            self.answered[event.chosen.tier_index] += 1
