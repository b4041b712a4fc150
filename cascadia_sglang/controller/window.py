"""Builds the request to the planner from the requests that the monitor recorded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.monitor import RecordedRequest
from cascadia_sglang.controller.window_lengths import ClimbLengths, input_tokens, prompt_lengths
from cascadia_sglang.errors import ConfigError, InfeasiblePlanError, WorkloadError
from cascadia_sglang.planner.online.plan_request import PlanRequest, WindowTier
from cascadia_sglang.planner.speed.profile import Profile

# Requests of a window that are simulated, the newest; and with how few nothing is planned.
MOST_REQUESTS = 2_000
LEAST_REQUESTS = 30


def window_tiers(
    config: CascadeConfig,
    profile: Profile,
    pool_of: Callable[[int], str],
    device_share: float,
    source: str,
) -> list[WindowTier]:
    """The tiers with their workers' speed.

    Args:
        pool_of: the name of the pool that serves a tier index.
        source: of the profile, for errors.

    Raises:
        ConfigError: if the profile lacks a tier, or its limits.
    """
    tiers = []
    for index, tier in enumerate(config.tiers):
        for data, by_tier in (("step times", profile.tiers), ("limits", profile.limits)):
            if tier.name not in by_tier:
                raise ConfigError(
                    f"{source}: no {data} of {tier.name!r}, it has: "
                    f"{', '.join(sorted(by_tier)) or 'none'}"
                )
        tiers.append(
            WindowTier(
                name=tier.name,
                pool=pool_of(index),
                times=profile.tiers[tier.name],
                limits=profile.limits[tier.name],
                device_share=device_share,
            )
        )
    return tiers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingState:
    """What serves now.

    Attributes:
        thresholds: of every tier but the last.
        devices: that there are on all nodes that are up.
        blocks: the pools that share devices.
        start_s: how long a worker of each pool takes to start; 0 for a pool that is not named.
    """

    pools: dict[str, Capacity]
    thresholds: Sequence[float]
    devices: int
    blocks: Blocks = field(default_factory=Blocks)
    start_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests to plan for.

    Attributes:
        requests: of a window, by their first attempt's end.
        rate_per_s: at which requests come now. Their times in the window show what is served and
            not what comes, so they are planned for as if they had come at this rate. 0 keeps their
            times.
        climbing: requests on their way to a larger tier.
        unseen: how many have come of which nothing is known yet.
    """

    requests: Sequence[RecordedRequest]
    rate_per_s: float
    climbing: Sequence[RecordedRequest] = ()
    unseen: int = 0


def plan_request(
    config: CascadeConfig, tiers: list[WindowTier], serving: ServingState, traffic: Traffic
) -> PlanRequest:
    """What to ask the planner, so that it plans for this traffic.

    Raises:
        WorkloadError: if there are too few requests.
        InfeasiblePlanError: if workers share devices in a way that no move may change.
    """
    fixed, groups = serving.blocks.fixed, serving.blocks.groups
    if fixed:
        raise InfeasiblePlanError(
            f"{', '.join(sorted(fixed))} share devices in a way that no move may change"
        )
    requests = [request for request in traffic.requests if request.visits][-MOST_REQUESTS:]
    if len(requests) < LEAST_REQUESTS:
        raise WorkloadError(f"{len(requests)} requests are too few to plan by: {LEAST_REQUESTS}")
    requests.sort(key=lambda request: request.at_s - request.seconds)
    begins_s = [request.at_s - request.seconds for request in requests]
    seconds = begins_s[-1] - begins_s[0]
    rate_per_s = traffic.rate_per_s
    slower = (
        (len(requests) - 1) / seconds / rate_per_s if seconds > 0.0 and rate_per_s > 0.0 else 1.0
    )
    lengths = ClimbLengths(requests, len(tiers))
    prompt_length_T = prompt_lengths(requests, [tier.pool for tier in tiers])
    inputs_B, tokens_BT = _backlog(requests, traffic, lengths, prompt_length_T)
    assert config.planner.gpu_budget is not None
    return PlanRequest(
        tiers=[_in_block(tier, groups) for tier in tiers],
        pools=serving.pools,
        blocks=[list(group) for group in groups],
        thresholds=tuple(serving.thresholds),
        quality_floor=config.planner.quality_floor,
        gpu_budget=min(config.planner.gpu_budget, serving.devices),
        objective=config.planner.objective,
        arrival_s_R=[slower * (begin_s - begins_s[0]) for begin_s in begins_s],
        input_tokens_R=[input_tokens(request, prompt_length_T) for request in requests],
        entry_score_R=[_entry_score(request) for request in requests],
        ended_early_R=[_ended_early(request) for request in requests],
        tokens_RT=[lengths.tokens(request) for request in requests],
        prompt_length_T=prompt_length_T,
        cached_share_T=[_cached_share(requests, index) for index in range(len(tiers))],
        kept_share_T=[_kept_share(requests, index) for index in range(len(tiers))],
        start_s=dict(serving.start_s),
        horizon_s=config.planner.horizon_s,
        backlog_inputs_B=inputs_B,
        backlog_tokens_BT=tokens_BT,
    )


def _in_block(tier: WindowTier, groups: Sequence[tuple[str, ...]]) -> WindowTier:
    block = next(("|".join(group) for group in groups if tier.pool in group), None)
    return msgspec.structs.replace(tier, block=block)


def _backlog(
    requests: Sequence[RecordedRequest],
    traffic: Traffic,
    lengths: ClimbLengths,
    prompt_length_T: Sequence[float],
) -> tuple[list[int], list[list[int]]]:
    """The requests under way; what is not known of them is as with the newest of the window."""
    inputs, tokens = [], []
    for request in traffic.climbing[-MOST_REQUESTS:]:
        row = lengths.tokens(request)
        for visit in request.visits:
            row[visit.tier_index] = 0
        if any(row):
            inputs.append(input_tokens(request, prompt_length_T))
            tokens.append(row)
    for number in range(min(traffic.unseen, MOST_REQUESTS)):
        like = requests[-1 - number % len(requests)]
        inputs.append(input_tokens(like, prompt_length_T))
        tokens.append(lengths.tokens(like))
    return inputs, tokens


def _cached_share(requests: Sequence[RecordedRequest], tier_index: int) -> float:
    """Of the prompts that a tier took, in its own tokens, what its workers' caches held."""
    visits = [
        (visit.cached_tokens, visit.prompt_tokens)
        for request in requests
        for visit in request.visits
        if visit.tier_index == tier_index
    ]
    tokens = sum(tokens for _, tokens in visits)
    return min(1.0, sum(cached for cached, _ in visits) / tokens) if tokens else 0.0


def _kept_share(requests: Sequence[RecordedRequest], tier_index: int) -> float | None:
    """Of the drafts that a tier read, what it kept."""
    read = [
        (visit.kept_tokens, before.output_tokens)
        for request in requests
        for before, visit in pairwise(request.visits)
        if visit.tier_index == tier_index and visit.kept_tokens is not None
    ]
    tokens = sum(tokens for _, tokens in read)
    return min(1.0, sum(kept_tokens for kept_tokens, _ in read) / tokens) if tokens else None


def _entry_score(request: RecordedRequest) -> float | None:
    first = request.visits[0]
    return first.score if first.tier_index == 0 else None


def _ended_early(request: RecordedRequest) -> bool:
    first = request.visits[0]
    return first.tier_index == 0 and first.ended_early
