"""At which tier a prompt begins: at the first, where a model predicts, or where it is cheapest."""

from typing import Any, Protocol

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.prefix.price import entry_prices
from cascadia_sglang.prefix.reuse import Share
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.events import PromptFinished


class EntryRule(Protocol):
    """Says at which tier a prompt begins."""

    def climb(self, sample: Any, tiers: list[int]) -> list[int]:
        """The tiers that a prompt visits, of those that it may: all from where it begins.

        Args:
            sample: the prompt's first one, tokenised.
            tiers: indices that it may visit, rising, at least one.
        """
        ...


class FirstTier:
    """Begins every prompt at the first tier that it may visit."""

    def climb(self, sample: Any, tiers: list[int]) -> list[int]:
        del sample
        return tiers


class PredictedTier:
    """Begins where the entry model says that the answer will be accepted."""

    def __init__(self, model: EntryScorer, engine: Engine) -> None:
        self._model = model
        self._engine = engine

    def climb(self, sample: Any, tiers: list[int]) -> list[int]:
        return self._model.climb(self._engine.prompt_ids(sample), tiers)


class CheapestTier:
    """Begins where an accepted answer is expected first, in seconds.

    It knows what is cached where, what queues there are, and what gets accepted. A conversation so
    begins where its prefix lies while that is cheaper: elsewhere its tokens have to be computed
    again, and they are counted.
    """

    def __init__(self, tiers: int, engine: Engine, model: EntryScorer | None = None) -> None:
        """`model` knows the chance of acceptance by the prompt; else it is the tier's habit."""
        self.accepted = [Share(0.5) for _ in range(tiers)]
        self._engine = engine
        self._model = model

    def climb(self, sample: Any, tiers: list[int]) -> list[int]:
        """Everything from the first tier where a price is not known yet."""
        prompt = self._engine.prompt(sample)
        if prompt is None or len(tiers) == 1:
            return tiers
        seconds: list[float] = []
        for tier in tiers:
            of_tier = self._engine.seconds(tier, prompt)
            if of_tier is None:
                return tiers
            seconds.append(of_tier)
        accepted = [self._chance(prompt.token_ids, tier) for tier in tiers[:-1]]
        prices = entry_prices(seconds, accepted)
        return tiers[prices.index(min(prices)) :]

    def prompt_finished(self, event: PromptFinished) -> None:
        """Learn which of the prompt's answers were accepted."""
        for attempt in event.attempts:
            if attempt.escalated or attempt.reason == "accepted":
                self.accepted[attempt.tier_index].add(not attempt.escalated)

    def _chance(self, token_ids: Any, tier: int) -> float:
        if self._model is not None:
            return self._model.chance(token_ids, tier)
        return self.accepted[tier].value


def entry_rule(
    config: CascadeConfig, engine: Engine, model: EntryScorer | None
) -> FirstTier | PredictedTier | CheapestTier:
    """The rule that `routing.entry` asks for; `model` is the configured entry model."""
    if config.routing.entry == "priced":
        return CheapestTier(len(config.tiers), engine, model)
    if config.routing.entry == "predicted" and model is not None:
        return PredictedTier(model, engine)
    return FirstTier()
