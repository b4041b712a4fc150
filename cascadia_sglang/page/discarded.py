"""Answers that were discarded on the way to one request's answer, for who asked with the admin key.

The texts of a request are kept from its end until they are read once. Only requests that were
named beforehand are kept, a few at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from cascadia_sglang.router.events import PromptFinished

MOST_REQUESTS = 8
MOST_CHARACTERS = 20_000


class DiscardedAnswers:
    """Owns the texts; an observer of prompts."""

    def __init__(self, tiers: Sequence[str]) -> None:
        """`tiers` are their names, smallest first."""
        self._tiers = tiers
        # By id; None until the request is over.
        self._wanted: OrderedDict[str, list[dict[str, Any]] | None] = OrderedDict()

    def want(self, rid: str) -> None:
        """Keep the texts of the request that will come under this id."""
        self._wanted[rid] = None
        while len(self._wanted) > MOST_REQUESTS:
            self._wanted.popitem(last=False)

    def take(self, rid: str) -> list[dict[str, Any]]:
        """The discarded answers of a request that is over, in order; they are kept no longer."""
        return self._wanted.pop(rid, None) or []

    def prompt_finished(self, event: PromptFinished) -> None:
        """Keep what was discarded on the way of a request that is wanted.

        A later request under the same id may be another client's: nothing of it is kept.
        """
        rid = event.prompt.sample.rid
        if rid not in self._wanted or self._wanted[rid] is not None:
            return
        self._wanted[rid] = [
            {
                "tier": self._tiers[attempt.tier_index],
                "reason": attempt.reason,
                "score": attempt.score,
                "text": str(attempt.outputs[0].get("text", ""))[:MOST_CHARACTERS],
            }
            for attempt in event.attempts
            if attempt is not event.chosen and attempt.outputs
        ]
