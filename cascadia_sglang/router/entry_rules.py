"""At which tier a prompt begins: at the first, where a model predicts, or where it is cheapest."""

from collections.abc import Sequence
from typing import Any, Protocol

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import UnreadablePromptError
from cascadia_sglang.prefix.price import entry_prices
from cascadia_sglang.prefix.reuse import Share
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.events import PromptFinished


class EntryRule(Protocol):
    """Says at which tier a prompt begins."""

    async def climb(self, samples: list[Any], tiers: list[int]) -> list[int]:
        """The tiers that a prompt visits, of those that it may: all from where it begins.

        Args:
            samples: of the prompt.
            tiers: indices that it may visit, rising, at least one.
        """
        ...


class FirstTier:
    """Begins every prompt at the first tier that it may visit."""

    async def climb(self, samples: list[Any], tiers: list[int]) -> list[int]:
        del samples
        return tiers


class PredictedTier:
    """Begins where the entry model says that the answer will be accepted."""

    def __init__(self, model: EntryScorer, engine: Engine) -> None:
        self._model = model
        self._engine = engine

    async def climb(self, samples: list[Any], tiers: list[int]) -> list[int]:
        return self._model.climb(await first_ids(samples, self._engine), tiers)


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

    async def climb(self, samples: list[Any], tiers: list[int]) -> list[int]:
        """Everything from the first tier where a price is not known yet."""
        if len(tiers) == 1:
            return tiers
        seconds: list[float] = []
        for tier in tiers:
            of_tier = await self._seconds(samples, tier)
            if of_tier is None:
                return tiers
            seconds.append(of_tier)
        ids = None if self._model is None else await first_ids(samples, self._engine)
        accepted = [self._chance(ids, tier) for tier in tiers[:-1]]
        prices = entry_prices(seconds, accepted)
        return tiers[prices.index(min(prices)) :]

    async def _seconds(self, samples: list[Any], tier_index: int) -> float | None:
        """Of an attempt on a tier, with what its workers hold of the prompt in its own tokens."""
        try:
            await self._engine.tokenise(samples, tier_index)
        except UnreadablePromptError:
            return None
        prompt = self._engine.prompt(samples[0], tier_index)
        return None if prompt is None else self._engine.seconds(tier_index, prompt)

    def prompt_finished(self, event: PromptFinished) -> None:
        """Learn which of the prompt's answers were accepted."""
        for attempt in event.attempts:
            if attempt.escalated or attempt.reason == "accepted":
                self.accepted[attempt.tier_index].add(not attempt.escalated)

    def _chance(self, token_ids: Any, tier: int) -> float:
        if self._model is not None:
            return self._model.chance(token_ids, tier)
        return self.accepted[tier].value


async def first_ids(samples: list[Any], engine: Engine) -> Sequence[int] | None:
    """A prompt in the first tier's tokens, of which an entry model is; None where it has none."""
    if engine.refusal(samples[0], 0) is not None:
        return None
    try:
        await engine.tokenise(samples, 0)
    except UnreadablePromptError:
        return None
    return engine.prompt_ids(samples[0])


def entry_rule(
    config: CascadeConfig, engine: Engine, model: EntryScorer | None
) -> FirstTier | PredictedTier | CheapestTier:
    """The rule that `routing.entry` asks for; `model` is the configured entry model."""
    if config.routing.entry == "priced":
        return CheapestTier(len(config.tiers), engine, model)
    if config.routing.entry == "predicted" and model is not None:
        return PredictedTier(model, engine)
    return FirstTier()
