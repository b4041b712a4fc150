"""Which tiers a prompt may visit, and in which order."""

import math
from dataclasses import dataclass
from typing import Any

from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of one prompt.

    Attributes:
        tiers: to visit, in order; never empty.
        skipped: tiers that the prompt does not fit, as attempts that were not made.
        judged: tiers where a judge's score decides on it.
        pinned: whether the client chose the one tier.
        scoring: whether the prompt's own log-probabilities are asked for, which one tier gives.
        prompt_tokens: None where not known yet.
    """

    tiers: list[int]
    skipped: list[Attempt]
    judged: frozenset[int]
    pinned: bool
    scoring: bool = False
    prompt_tokens: int | None = None

    def tier_after(self, tier_index: int) -> int | None:
        """The tier that comes next; None after the last one."""
        for tier in self.tiers:
            if tier > tier_index:
                return tier
        return None


async def find_route(prompt: RequestPrompt, services: Services) -> Route:
    """Tokenise a prompt and find its way."""
    engine, config, controls = services.engine, prompt.config, prompt.controls
    sample = prompt.sample
    prompt_tokens = await engine.tokenise(prompt.samples)
    if controls.tier is not None:
        return Route(tiers=[controls.tier], skipped=[], judged=frozenset(), pinned=True)
    top = len(config.tiers) - 1 if controls.max_tier is None else controls.max_tier
    if engine.is_scoring(sample):
        # Scores of different models are not comparable, so all go to the same tier.
        return Route(tiers=[top], skipped=[], judged=frozenset(), pinned=False, scoring=True)
    judged = frozenset(t for t in range(top + 1) if engine.is_judgeable(sample, t))
    wanted = list(range(top + 1))
    is_prefill_only = engine.max_new_tokens(sample) == 0
    if config.judge.on_constrained == "escalate" and not is_prefill_only:
        # A tier without a judge is there only where its answers are accepted as they are.
        wanted = [t for t in wanted if t in judged or t == top or config.tiers[t].hides_logits]
    skipped: list[Attempt] = []
    if prompt_tokens is not None:
        fitting = [t for t in wanted if _fits(t, prompt_tokens, sample, engine)]
        if fitting:
            skipped = [Attempt(tier_index=t, reason="too_long") for t in wanted if t not in fitting]
        # Where it fits none, the engine itself says what is wrong, in its own words.
        wanted = fitting or wanted[-1:]
    if is_prefill_only:
        # No tier writes a better empty answer.
        wanted = wanted[:1]
    return Route(
        tiers=services.entry.climb(sample, wanted),
        skipped=skipped,
        judged=judged,
        pinned=False,
        prompt_tokens=prompt_tokens,
    )


def _fits(tier_index: int, prompt_tokens: int, sample: Any, engine: Engine) -> bool:
    limits = engine.limits(tier_index)
    if limits is None:
        return True
    total = prompt_tokens + (engine.max_new_tokens(sample) or 1)
    return prompt_tokens < limits.input_tokens and total <= limits.context_tokens


def room_tokens(tier_index: int, route: Route, prompt: RequestPrompt, engine: Engine) -> float:
    """The most tokens that a tier may write: by its own or the client's limit, and its context."""
    own: int | None = prompt.config.tiers[tier_index].sampling.get("max_new_tokens")
    asked = engine.max_new_tokens(prompt.sample) if own is None else own
    limits = engine.limits(tier_index)
    if limits is None or route.prompt_tokens is None:
        return math.inf if asked is None else asked
    in_context = limits.context_tokens - route.prompt_tokens
    return in_context if asked is None else min(asked, in_context)
