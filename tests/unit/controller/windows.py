"""A window of requests, and profiles to plan them by."""

import numpy as np

from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, PlannerConfig, TierConfig
from cascadia_sglang.controller.monitor import RecordedRequest, RecordedVisit
from cascadia_sglang.controller.window import ServingState, Traffic, plan_request, window_tiers
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.speed.profile import EngineLimits, Profile, StepTimes

NAMES = ("small", "large")
THRESHOLDS = (0.5,)
LIMITS = EngineLimits(kv_tokens=65536, max_running_requests=8)


def make_config(**planner) -> CascadeConfig:
    return CascadeConfig(
        version=1,
        tiers=[TierConfig(name=name, model_path=name) for name in NAMES],
        routing=RoutingConfig(thresholds=list(THRESHOLDS)),
        planner=PlannerConfig(enabled=True, gpu_budget=4, profile="p.json", **planner),
    )


def tiers(small_ms: float = 10.0, large_ms: float = 40.0):
    times = {
        name: StepTimes(decode_ms=[(1, ms), (8, 2 * ms)], prefill_ms=[(1, ms)])
        for name, ms in zip(NAMES, (small_ms, large_ms), strict=True)
    }
    profile = Profile(version=1, device="made up", tiers=times, limits=dict.fromkeys(NAMES, LIMITS))
    return window_tiers(make_config(), profile, lambda tier: NAMES[tier], 1.0, "profile")


def requests(
    count: int, rate: float, hard: float, start_s: float = 0.0, seed: int = 0
) -> list[RecordedRequest]:
    """Poisson arrivals; a share of `hard` goes on to the large tier."""
    rng = np.random.default_rng(seed)
    ends = start_s + 1.0 + np.cumsum(rng.exponential(1.0 / rate, count))
    made = []
    for end_s in ends.tolist():
        is_hard = rng.random() < hard
        visits = [
            RecordedVisit(
                tier_index=tier,
                score=0.2 if is_hard else 0.9,
                output_tokens=20,
                seconds=0.5,
                prompt_tokens=30,
                cached_tokens=0,
            )
            for tier in range(1 + is_hard)
        ]
        made.append(
            RecordedRequest(
                at_s=end_s, seconds=0.5 * len(visits), input_tokens=30, visits=tuple(visits)
            )
        )
    return made


def pools(small: int, large: int) -> dict[str, Capacity]:
    return {"small": Capacity(replicas=small), "large": Capacity(replicas=large)}


def serving(small: int, large: int, devices: int = 128, **more) -> ServingState:
    shapes = pools(small, large)
    return ServingState(pools=shapes, thresholds=THRESHOLDS, devices=devices, **more)


def plan_asked(hard: float, small: int = 2, rate: float = 12.0, **planner) -> PlanRequest:
    traffic = Traffic(requests=requests(300, rate, hard), rate_per_s=rate)
    return plan_request(make_config(**planner), tiers(), serving(small, 4 - small), traffic)
