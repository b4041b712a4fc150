"""Lengths of a window's prompts and answers, as each tier counts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cascadia_sglang.controller.monitor import RecordedRequest, RecordedVisit


class ClimbLengths:
    """How long answers are at the tiers that requests of a window are on their way to.

    The answers of a larger tier that are there already are the short ones: a window of some seconds
    holds no other where an answer takes longer. So a request on its way is taken to write what it
    wrote at the tier below, times how much more those wrote that have been at both.
    """

    def __init__(self, requests: Sequence[RecordedRequest], tier_count: int) -> None:
        self._tier_count = tier_count
        whole = [
            {visit.tier_index: visit.output_tokens for visit in request.visits if _is_whole(visit)}
            for request in requests
        ]
        self._growth_T = [1.0]
        for tier_index in range(1, tier_count):
            pairs = [
                (tokens[tier_index - 1], tokens[tier_index])
                for tokens in whole
                if tier_index in tokens and tier_index - 1 in tokens
            ]
            below = sum(first for first, _ in pairs)
            self._growth_T.append(sum(second for _, second in pairs) / below if below else 1.0)
        lengths = [tokens[0] for tokens in whole if 0 in tokens]
        self._first = sum(lengths) / len(lengths) if lengths else 1.0

    def tokens(self, request: RecordedRequest) -> list[int]:
        """What it wrote at every tier, and will at the next where it climbs; 0 where it was not."""
        tokens = [0] * self._tier_count
        for visit in request.visits:
            tokens[visit.tier_index] = max(1, visit.output_tokens)
        following = 1 + max((visit.tier_index for visit in request.visits), default=-1)
        if request.is_open and following < self._tier_count:
            tokens[following] = max(1, round(self._next(request, following)))
        return tokens

    def _next(self, request: RecordedRequest, following: int) -> float:
        """Of an answer that was ended early nothing is known but that it was not shorter."""
        expected = self._first
        for tier_index in range(following):
            visit = next(
                (visit for visit in request.visits if visit.tier_index == tier_index), None
            )
            expected *= self._growth_T[tier_index]
            if visit is not None:
                expected = (
                    max(expected, visit.output_tokens)
                    if visit.ended_early
                    else float(visit.output_tokens)
                )
        return expected * self._growth_T[following]


def prompt_lengths(requests: Sequence[RecordedRequest], pool_T: Sequence[str]) -> list[float]:
    """Tokens of a prompt at each tier, relative to the first, [T].

    Measured on the requests that were at a tier and at the one below. A tier where there is none
    counts as the one below.

    Args:
        pool_T: names of the pools that serve the tiers; tiers of one pool count alike.
    """
    lengths = [1.0]
    for tier_index in range(1, len(pool_T)):
        pairs = []
        for request in requests:
            counted = {visit.tier_index: visit.prompt_tokens for visit in request.visits}
            if counted.get(tier_index - 1) and counted.get(tier_index):
                pairs.append((counted[tier_index - 1], counted[tier_index]))
        below = sum(first for first, _ in pairs)
        growth = sum(second for _, second in pairs) / below if below else 1.0
        lengths.append(lengths[-1] * growth)
    return [lengths[pool_T.index(pool)] for pool in pool_T]


def input_tokens(request: RecordedRequest, length_T: Sequence[float]) -> int:
    """Tokens of a request's prompt as the first tier counts them, at least 1.

    Args:
        length_T: by `prompt_lengths`.
    """
    first = request.visits[0].tier_index if request.visits else 0
    return max(1, round(request.input_tokens / length_T[first]))


def _is_whole(visit: RecordedVisit) -> bool:
    return not visit.ended_early
