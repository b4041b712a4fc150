"""Simulates a scenario on a workload."""

from cascadia_sglang.planner.outcome import SimulationResult
from cascadia_sglang.planner.paths import shared_paths
from cascadia_sglang.planner.profile import Profile
from cascadia_sglang.planner.setup import Scenario
from cascadia_sglang.planner.simulator import SimulatedTier, simulate
from cascadia_sglang.planner.workload import Workload


def run_scenario(setup: Scenario, profile: Profile, workload: Workload) -> SimulationResult:
    """One run; the same arguments give the same times, and the same requests climb as far at the
    same shares.

    Args:
        profile: with step times and limits of every tier.
    """
    tiers = [
        SimulatedTier(
            name=tier.name,
            pool=tier.pool,
            block=tier.block,
            kept_share=tier.kept,
            times=profile.tiers[tier.name],
            limits=profile.limits[tier.name],
            replicas=tier.replicas,
            share=tier.device_share,
            stages=tier.stages,
        )
        for tier in setup.tiers
    ]
    paths = shared_paths(
        workload,
        [tier.share for tier in setup.tiers],
        [tier.length for tier in setup.tiers],
        setup.max_new_tokens,
        setup.seed,
    )
    return simulate(workload, paths, tiers, host=profile.host, is_buffered=setup.is_buffered)
