"""When the answers of a streamed request leave: as written, once committed to, or whole."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from enum import Enum

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.router.controls import Controls, has_one_tier, stream_mode, threshold_of
from cascadia_sglang.router.route import Route


class Leaving(Enum):
    """When the answer of one attempt leaves."""

    AS_WRITTEN = "as written"
    ONCE_COMMITTED = "once committed"
    WHOLE = "whole"


def streamed_route(
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    entry: EntryScorer | None,
    prompt_ids: Callable[[], Sequence[int] | None],
) -> Route:
    """The route of a streamed request; tiers whose answers leave without a judge are not judged.

    In `direct` no tier is judged. Otherwise the first tier is not where the prompt alone gives it
    the chance `routing.commit_at_once`.
    """
    mode = stream_mode(controls, config)
    if mode == "direct":
        return dataclasses.replace(route, judged=frozenset())
    if mode != "buffered" and _is_sure(route, controls, config, entry, prompt_ids):
        return dataclasses.replace(route, judged=route.judged - {route.tiers[0]})
    return route


def leaving(
    tier_index: int,
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    told_early: Collection[int],
) -> Leaving:
    """When the answer of an attempt of a streamed request leaves.

    Args:
        told_early: tiers whose judge tells the chance of acceptance before the answer's end.
    """
    mode = stream_mode(controls, config)
    if has_one_tier(controls, config):
        return Leaving.AS_WRITTEN
    if mode == "buffered":
        return Leaving.WHOLE
    if tier_index == route.tiers[-1] or tier_index not in route.judged:
        return Leaving.AS_WRITTEN
    if mode == "commit" or tier_index in told_early:
        return Leaving.ONCE_COMMITTED
    return Leaving.WHOLE


def _is_sure(
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    entry: EntryScorer | None,
    prompt_ids: Callable[[], Sequence[int] | None],
) -> bool:
    """Whether the prompt alone says that the tier where the climb begins will answer well."""
    least, tier = config.routing.commit_at_once, route.tiers[0]
    if least is None or entry is None or tier == route.tiers[-1]:
        return False
    least = max(least, threshold_of(tier, controls, config))
    return entry.chance(prompt_ids(), tier) >= least
