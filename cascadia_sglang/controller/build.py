"""The controller that a cascade's settings ask for."""

import functools
import time
from pathlib import Path

from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.controller import Controller
from cascadia_sglang.controller.monitor import Monitor, Timing
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.controller.window import window_tiers
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.planner.online.plan_process import ask_planner
from cascadia_sglang.planner.online.plan_request import WindowTier
from cascadia_sglang.planner.speed.profile import load_profile
from cascadia_sglang.planner.thresholds.sample import load_plan_sample


def configured_monitor(config: CascadeConfig) -> Monitor | None:
    """What keeps the traffic for the controller, where the planner is enabled."""
    if not _is_planned(config):
        return None
    return Monitor(timing_of(config.planner.interval_s), time.monotonic())


def configured_controller(
    config: CascadeConfig, mover: Mover, monitor: Monitor | None, metrics: Metrics
) -> Controller | None:
    """A controller where the planner is enabled.

    Args:
        monitor: as `configured_monitor` gives it.

    Raises:
        ConfigError: if the profile or the sample cannot be read, or lacks what a plan needs.
    """
    tiers = planned_tiers(config)
    if tiers is None or monitor is None:
        return None
    planner = config.planner
    return Controller(
        config,
        tiers,
        mover,
        monitor,
        functools.partial(ask_planner, sample=planner.sample),
        metrics,
        None if planner.log is None else Path(planner.log),
    )


def planned_tiers(config: CascadeConfig) -> list[WindowTier] | None:
    """What the planner is told of each tier; None where it is not enabled.

    Raises:
        ConfigError: if the profile or the sample cannot be read, or lacks what a plan needs.
    """
    planner = config.planner
    path = planner.profile or planner.emulate
    if not _is_planned(config) or path is None or planner.gpu_budget is None:
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


def _is_planned(config: CascadeConfig) -> bool:
    """Whether the planner is enabled, and has what it needs."""
    planner = config.planner
    has_path = planner.profile is not None or planner.emulate is not None
    return planner.enabled and has_path and planner.gpu_budget is not None


def timing_of(interval_s: float) -> Timing:
    """Spans of the monitor for a look every so many seconds: one look, two, five, and ten."""
    return Timing(
        look_s=interval_s,
        reference_s=10 * interval_s,
        recent_s=(interval_s, 2 * interval_s, 5 * interval_s),
    )
