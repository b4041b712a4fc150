"""Which tiers a prompt may visit, and in which order."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cascadia_sglang.errors import RequestError, UnreadablePromptError
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of one prompt.

    Attributes:
        tiers: to visit, in order; never empty.
        skipped: tiers that the prompt does not fit, or whose tokens it is not written in, as
            attempts that were not made.
        judged: tiers where a judge's score decides on it.
        pinned: whether the client chose the one tier.
        scoring: whether the prompt's own log-probabilities are asked for, which one tier gives.
        unseen: tiers for which the prompt is not made yet. They are looked at when it gets there.
    """

    tiers: list[int]
    skipped: list[Attempt]
    judged: frozenset[int]
    pinned: bool
    scoring: bool = False
    unseen: frozenset[int] = frozenset()

    def tier_after(self, tier_index: int) -> int | None:
        """The tier that comes next; None after the last one."""
        for tier in self.tiers:
            if tier > tier_index:
                return tier
        return None


# A prompt in another tier's tokens is taken to be at most so many times as long. Tokenizers of
# today's models differ by less on any language; what is beyond is seen when the tier is visited.
_MOST_RATIO = 2.0


async def find_route(prompt: RequestPrompt, services: Services) -> Route:
    """Tokenise a prompt for the tier where it begins, and find its way.

    Raises:
        RequestError: 400 where no tier can be asked the prompt.
    """
    engine, config, controls = services.engine, prompt.config, prompt.controls
    sample = prompt.sample
    if controls.tier is not None:
        await engine.tokenise(prompt.samples, controls.tier)
        return Route(tiers=[controls.tier], skipped=[], judged=frozenset(), pinned=True)
    allowed = range(len(config.tiers) if controls.max_tier is None else controls.max_tier + 1)
    refusals = {tier: engine.refusal(sample, tier) for tier in allowed}
    readable = [tier for tier, refusal in refusals.items() if refusal is None]
    if not readable:
        raise RequestError(400, "no tier that may answer can be asked this prompt")
    skipped = [
        Attempt(tier_index=tier, reason=refusal.value)
        for tier, refusal in refusals.items()
        if refusal is not None
    ]
    top = readable[-1]
    if engine.is_scoring(sample):
        # Scores of different models are not comparable, so all go to the same tier.
        await engine.tokenise(prompt.samples, top)
        return Route(tiers=[top], skipped=[], judged=frozenset(), pinned=False, scoring=True)
    judged = frozenset(tier for tier in readable if engine.is_judgeable(sample, tier))
    is_prefill_only = engine.max_new_tokens(sample) == 0
    candidates = [
        tier
        for tier in readable
        if is_prefill_only or tier == top or _is_wanted(tier, tier in judged, prompt)
    ]
    prompt_tokens, unreadable = await _tokenised(prompt, candidates, engine)
    skipped += [Attempt(tier_index=tier, reason="unreadable") for tier in unreadable]
    candidates = [tier for tier in candidates if tier not in unreadable]
    if prompt_tokens is not None:
        fitting = [tier for tier in candidates if await _fits(tier, prompt_tokens, prompt, engine)]
        if fitting:
            skipped += [
                Attempt(tier_index=tier, reason="too_long")
                for tier in candidates
                if tier not in fitting
            ]
        # Where it fits none, the engine itself says what is wrong, in its own words.
        candidates = fitting or candidates[-1:]
    if is_prefill_only:
        # No tier writes a better empty answer.
        candidates = candidates[:1]
    tiers = await services.entry.climb(prompt.samples, candidates)
    return Route(
        tiers=tiers,
        skipped=sorted(skipped, key=lambda attempt: attempt.tier_index),
        judged=judged,
        pinned=False,
        unseen=frozenset(tier for tier in tiers if not engine.is_tokenised(sample, tier)),
    )


async def seen_route(
    route: Route, tier_index: int, prompt: RequestPrompt, engine: Engine
) -> tuple[Route, Attempt | None]:
    """Make a prompt for a tier that it has come to, where it is not made yet.

    Returns:
        The route with what is known now; the attempt that is not made, None where it may be.
    """
    if tier_index not in route.unseen:
        return route, None
    unseen = route.unseen - {tier_index}
    reason: str | None = None
    try:
        tokens = await engine.tokenise(prompt.samples, tier_index)
    except UnreadablePromptError:
        reason = "unreadable"
    else:
        is_short = tokens is None or _has_room(tier_index, tokens, prompt.sample, engine)
        reason = None if is_short else "too_long"
    skipped = None if reason is None else Attempt(tier_index=tier_index, reason=reason)
    judged = route.judged
    if skipped is None and not engine.is_judgeable(prompt.sample, tier_index):
        # The tier's own parser constrains its answers.
        judged = judged - {tier_index}
    return dataclasses.replace(route, judged=judged, unseen=unseen), skipped


async def _tokenised(
    prompt: RequestPrompt, tiers: Sequence[int], engine: Engine
) -> tuple[int | None, list[int]]:
    """Tokenise a prompt for the first tier that can be asked it; its length, and those before.

    Raises:
        RequestError: 400 where none can.
    """
    unreadable: list[int] = []
    for tier in tiers:
        try:
            return await engine.tokenise(prompt.samples, tier), unreadable
        except UnreadablePromptError as error:
            unreadable.append(tier)
            refusal = str(error)
    raise RequestError(400, refusal)


def _is_wanted(tier_index: int, is_judged: bool, prompt: RequestPrompt) -> bool:
    """Whether a tier below the last has a say in a prompt that it may not be able to judge.

    A tier without a judge is there only where its answers are accepted as they are.
    """
    config = prompt.config
    if is_judged or config.judge.on_constrained != "escalate":
        return True
    return config.tiers[tier_index].hides_logits


async def _fits(tier_index: int, tokens: int, prompt: RequestPrompt, engine: Engine) -> bool:
    """Whether a prompt fits a tier, as far as that is certain before it gets there.

    Args:
        tokens: of the prompt, for the tier where it begins.
    """
    sample = prompt.sample
    if engine.is_tokenised(sample, tier_index):
        tier_tokens = engine.prompt_tokens(sample, tier_index)
        return tier_tokens is None or _has_room(tier_index, tier_tokens, sample, engine)
    if _has_room(tier_index, math.ceil(tokens * _MOST_RATIO), sample, engine):
        return True
    try:
        made = await engine.tokenise(prompt.samples, tier_index)
    except UnreadablePromptError:
        # It is noted when the prompt gets there.
        return True
    return made is None or _has_room(tier_index, made, sample, engine)


def _has_room(tier_index: int, prompt_tokens: int, sample: Any, engine: Engine) -> bool:
    limits = engine.limits(tier_index)
    if limits is None:
        return True
    total = prompt_tokens + (engine.max_new_tokens(sample) or 1)
    return prompt_tokens < limits.input_tokens and total <= limits.context_tokens


def room_tokens(tier_index: int, prompt: RequestPrompt, engine: Engine) -> float:
    """The most tokens that a tier may write: by its own or the client's limit, and its context."""
    tier_limit: int | None = prompt.config.tiers[tier_index].sampling.get("max_new_tokens")
    limit = engine.max_new_tokens(prompt.sample) if tier_limit is None else tier_limit
    limits = engine.limits(tier_index)
    prompt_tokens = engine.prompt_tokens(prompt.sample, tier_index)
    if limits is None or prompt_tokens is None:
        return math.inf if limit is None else limit
    in_context = limits.context_tokens - prompt_tokens
    return in_context if limit is None else min(limit, in_context)
