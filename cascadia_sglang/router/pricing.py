"""At which tier a prompt begins, by the seconds to an accepted answer."""

from collections.abc import Iterable
from typing import Any

from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.prefix.price import entry_prices
from cascadia_sglang.prefix.reuse import Share
from cascadia_sglang.router.attempt import Attempt, Engine


class EntryPrices:
    """Prices of the tiers: what is cached where, what queues there are, what gets accepted.

    A conversation so begins where its prefix lies while that is cheaper: elsewhere its tokens have
    to be computed again, and they are counted.
    """

    def __init__(self, tiers: int, entry: EntryScorer | None = None) -> None:
        """`entry` knows the chance of acceptance by the prompt; else it is the tier's habit."""
        self._entry = entry
        self._accepted = [Share(0.5) for _ in range(tiers)]

    def climb(self, sample: Any, tiers: list[int], engine: Engine) -> list[int]:
        """The tiers that a prompt visits, of those that it may: all from the cheapest entry.

        Everything from the first where a price is not known yet.
        """
        prompt = engine.prompt(sample)
        if prompt is None or len(tiers) == 1:
            return tiers
        seconds: list[float] = []
        for tier in tiers:
            of_tier = engine.seconds(tier, prompt)
            if of_tier is None:
                return tiers
            seconds.append(of_tier)
        accepted = [self._chance(prompt.token_ids, tier) for tier in tiers[:-1]]
        prices = entry_prices(seconds, accepted)
        return tiers[prices.index(min(prices)) :]

    def learn(self, attempts: Iterable[Attempt]) -> None:
        """Take in what became of a prompt's attempts."""
        for attempt in attempts:
            if attempt.escalated or attempt.reason == "accepted":
                self._accepted[attempt.tier_index].add(not attempt.escalated)

    def _chance(self, token_ids: Any, tier: int) -> float:
        if self._entry is not None:
            return self._entry.chance(token_ids, tier)
        return self._accepted[tier].value
