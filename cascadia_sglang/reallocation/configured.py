"""The controller that a cascade's settings ask for."""

import functools
import time
from pathlib import Path

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.planner.plan_sample import load_plan_sample
from cascadia_sglang.planner.profile import load_profile
from cascadia_sglang.pool_specs import pool_specs
from cascadia_sglang.reallocation.asked import WindowTier
from cascadia_sglang.reallocation.controller import Controller
from cascadia_sglang.reallocation.monitor import Monitor, Timing
from cascadia_sglang.reallocation.mover import Mover
from cascadia_sglang.reallocation.observe import window_tiers
from cascadia_sglang.reallocation.plan_process import ask_planner


def configured_controller(config: CascadeConfig, mover: Mover) -> Controller | None:
    """A controller where the planner is enabled.

    Raises:
        ConfigError: if the profile or the sample cannot be read, or lacks what a plan needs.
    """
    tiers = planned_tiers(config)
    if tiers is None:
        return None
    planner = config.planner
    return Controller(
        config,
        tiers,
        mover,
        Monitor(timing_of(planner.interval_s), time.monotonic()),
        functools.partial(ask_planner, sample=planner.sample),
        None if planner.log is None else Path(planner.log),
    )


def planned_tiers(config: CascadeConfig) -> list[WindowTier] | None:
    """What the planner is told of each tier; None where it is not enabled.

    Raises:
        ConfigError: if the profile or the sample cannot be read, or lacks what a plan needs.
    """
    planner = config.planner
    path = planner.profile or planner.emulate
    if not planner.enabled or path is None or planner.gpu_budget is None:
        return None
    specs = pool_specs(config)

    def pool_of(tier_index: int) -> str:
        return next(spec.name for spec in specs if tier_index in spec.tiers)

    share = 1.0
    if planner.emulate is not None:
        pools = {pool_of(index): tier.replicas for index, tier in enumerate(config.tiers)}
        share = min(1.0, planner.gpu_budget / sum(pools.values()))
    if planner.sample is not None:
        # The planner's process reads it; what is wrong with it is to be said at the start.
        load_plan_sample(Path(planner.sample), [tier.name for tier in config.tiers])
    return window_tiers(config, load_profile(Path(path)), pool_of, share, f"profile {path}")


def timing_of(interval_s: float) -> Timing:
    """Spans of the monitor for a look every so many seconds: one look, two, five, and ten."""
    return Timing(
        look_s=interval_s,
        reference_s=10 * interval_s,
        recent_s=(interval_s, 2 * interval_s, 5 * interval_s),
    )
