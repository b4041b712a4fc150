"""Where two greedy answers of one model part, and how near a tie the model is there.

A model computes in bfloat16, so the same prompt gives slightly other logits in another batch. Where
its two best tokens are nearly as likely, either may be the greedy one. Anywhere else a difference
would be a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A log-probability of a token, its id, and its text or none, as SGLang lists them.
Listed = Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """An answer as the model rates it in one prefill.

    Attributes:
        token_ids: of the answer.
        best: of each of its places, the two likeliest tokens, (log-probability, id) each, likelier
            first.
        others: of each place, the log-probabilities of the tokens that were asked for, by id.
    """

    token_ids: tuple[int, ...]
    best: tuple[tuple[tuple[float, int], ...], ...]
    others: tuple[Mapping[int, float], ...]

    @property
    def gaps(self) -> list[float]:
        """How much likelier the best token is than the next, of every place, in nats."""
        return [first[0] - second[0] for first, second in self.best]

    def gap_to(self, index: int, token_ids: Sequence[int]) -> float:
        """How much likelier the best token of a place is than the least of these, in nats."""
        best = self.best[index]
        values = dict(self.others[index]) | {token: value for value, token in best}
        return best[0][0] - min(values[token] for token in token_ids)


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """The first place where two answers have other tokens, or one has none; None if equal."""
    for index, (token, other) in enumerate(zip(first, second, strict=False)):
        if token != other:
            return index
    return None if len(first) == len(second) else min(len(first), len(second))


def scored(answer: Sequence[int], meta_info: Mapping[str, Any]) -> Scored:
    """An answer at the end of a prompt, of whose tokens SGLang listed the log-probabilities.

    Raises:
        ValueError: if other tokens were listed.
    """
    count = len(answer)
    listed = [entry[1] for entry in meta_info["input_token_logprobs"][-count:]]
    if listed != list(answer):
        raise ValueError(f"log-probabilities are of {listed}, asked: {list(answer)}")
    best = [_pairs(entries)[:2] for entries in meta_info["input_top_logprobs"][-count:]]
    requested = meta_info.get("input_token_ids_logprobs") or [()] * count
    others = [
        {token: value for value, token in _pairs(entries or ())} for entries in requested[-count:]
    ]
    return Scored(token_ids=tuple(answer), best=tuple(best), others=tuple(others))


def _pairs(entries: Sequence[Listed]) -> tuple[tuple[float, int], ...]:
    return tuple((float(entry[0]), int(entry[1])) for entry in entries)
