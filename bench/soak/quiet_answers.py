"""Answers of a quiet server, which those of a server under faults are compared with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.soak.answers import CUT, ENDED, Choice
from bench.soak.mix import TIERS, TOKENS

MOST_TOKENS = max(TOKENS)
# A greedy answer is the largest of rounded logits: beside others in a batch, a matrix product adds
# up in another order. In bfloat16 two logits of this distance can change places.
NEAR_NATS = 0.25
_AT_ONCE = 4
_BEST = 5

# By tier and prompt: the text, and whether it ended by itself.
Answers = Mapping[str, Mapping[str, tuple[str, bool]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An answer that is not the quiet server's; `tier` is None where nobody named it."""

    route: str
    kind: str
    prompt: str
    tier: str | None
    text: str
    finish: str


async def ask_all(session: aiohttp.ClientSession, base: str, prompts: Sequence[str]) -> Answers:
    """Every tier's own answer to every prompt, few at a time."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(tier: str, prompt: str) -> tuple[str, bool]:
        async with turns:
            output = await _generate(session, base, tier, prompt)
        return output["text"], output["meta_info"]["finish_reason"]["type"] == "stop"

    answers = {}
    for tier in TIERS:
        texts = await asyncio.gather(*(ask(tier, prompt) for prompt in prompts))
        answers[tier] = dict(zip(prompts, texts, strict=True))
    return answers


def is_same(answers: Answers, prompt: str, tier: str | None, choice: Choice) -> bool:
    """Whether an answer is that of its tier, or the beginning of it where it was cut.

    Where nobody named the tier it may be that of any.
    """
    texts = [answers[name][prompt] for name in (answers if tier is None else (tier,))]
    if choice.finish == CUT:
        return any(text.startswith(choice.text) for text, _ in texts)
    return choice.finish == ENDED and (choice.text, True) in texts


async def explained(
    session: aiohttp.ClientSession, base: str, answers: Answers, difference: Difference
) -> bool:
    """Whether the first other token was as good as the quiet server's own, but for rounding."""
    tiers = TIERS if difference.tier is None else (difference.tier,)
    for tier in tiers:
        quiet, _ = answers[tier][difference.prompt]
        index = _common(quiet, difference.text)
        more = {"return_logprob": True, "top_logprobs_num": _BEST, "return_text_in_logprobs": True}
        output = await _generate(session, base, tier, difference.prompt, **more)
        if not output["text"].startswith(quiet[:index]):
            return True  # it differs from itself, and no later
        best = output["meta_info"]["output_top_logprobs"]
        if index >= len(best):
            continue
        other = difference.text[index : index + 1]
        values = {str(text): value for value, _, text in best[index]}
        # The end of an answer is a token without a letter.
        named = values.get(other) if other else min(values.values(), default=None)
        if named is not None and max(values.values()) - named <= NEAR_NATS:
            return True
    return False


def load(path: Path) -> Answers | None:
    """Answers that were kept; None where there are none."""
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    return {
        tier: {prompt: (text, ended) for prompt, (text, ended) in answers.items()}
        for tier, answers in stored.items()
    }


def plain(difference: Difference) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(difference)


async def _generate(
    session: aiohttp.ClientSession, base: str, tier: str, prompt: str, **more: Any
) -> dict[str, Any]:
    params = {"temperature": 0, "max_new_tokens": MOST_TOKENS}
    body = {"text": prompt, "sampling_params": params, **more}
    headers = {"x-cascadia-tier": tier}
    async with session.post(f"{base}/generate", json=body, headers=headers) as response:
        response.raise_for_status()
        output: dict[str, Any] = await response.json()
        return output


def _common(text: str, other: str) -> int:
    pairs = zip(text, other, strict=False)
    differs = (index for index, (a, b) in enumerate(pairs) if a != b)
    return next(differs, min(len(text), len(other)))
