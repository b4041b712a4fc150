"""The warming that goes along with an attempt."""

import contextlib
from collections.abc import Iterator

from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Warmer, Warming
from cascadia_sglang.router.route import Route


@contextlib.contextmanager
def warmed(
    warmer: Warmer | None, prompt: Prompt | None, tier_index: int, route: Route
) -> Iterator[Warming | None]:
    """Warm the tier after this one while the block runs, where there is something to warm.

    The block sets `escalated` where the prompt goes on.
    """
    later = [tier for tier in route.tiers if tier > tier_index]
    if warmer is None or prompt is None or not later or tier_index not in route.judged:
        yield None
        return
    if not warmer.is_long(prompt):
        yield None
        return
    is_first = tier_index == route.tiers[0]
    warming = warmer.begin(prompt, tier_index, later[0], is_first=is_first)
    try:
        yield warming
    finally:
        warmer.settled(warming, later[0])
