"""When the answers of a streamed request leave: as written, once committed to, or whole."""

import dataclasses
from collections.abc import Callable, Sequence
from enum import Enum

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.router.controls import Controls, has_one_tier, stream_mode
from cascadia_sglang.router.orders import threshold_of
from cascadia_sglang.router.route import Route
from cascadia_sglang.router.scores import TierScores


class Leaving(Enum):
    """When the answer of one attempt leaves."""

    AS_WRITTEN = "as written"
    ONCE_COMMITTED = "once committed"
    WHOLE = "whole"


def streamed_route(
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    scores: TierScores,
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
    if mode != "buffered" and _is_sure(route, controls, config, scores, entry, prompt_ids):
        return dataclasses.replace(route, judged=route.judged - {route.tiers[0]})
    return route


def leaving(
    tier_index: int,
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    scores: TierScores,
) -> Leaving:
    """When the answer of an attempt of a streamed request leaves."""
    mode = stream_mode(controls, config)
    if has_one_tier(controls, config):
        return Leaving.AS_WRITTEN
    if mode == "buffered":
        return Leaving.WHOLE
    if tier_index == route.tiers[-1] or tier_index not in route.judged:
        return Leaving.AS_WRITTEN
    if mode == "commit" or scores.tells_early(tier_index):
        return Leaving.ONCE_COMMITTED
    return Leaving.WHOLE


def _is_sure(
    route: Route,
    controls: Controls,
    config: CascadeConfig,
    scores: TierScores,
    entry: EntryScorer | None,
    prompt_ids: Callable[[], Sequence[int] | None],
) -> bool:
    """Whether the prompt alone says that the tier where the climb begins will answer well."""
    least, tier = config.routing.commit_at_once, route.tiers[0]
    if least is None or entry is None or tier == route.tiers[-1]:
        return False
    if not scores.is_ranked(tier):
        least = max(least, threshold_of(tier, controls, config, scores))
    return entry.chance(prompt_ids(), tier) >= least
