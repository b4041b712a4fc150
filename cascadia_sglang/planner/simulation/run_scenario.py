"""Simulates a scenario on a workload."""

from cascadia_sglang.planner.simulation.paths import Paths, shared_paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.run_limit import RunLimit
from cascadia_sglang.planner.simulation.scenario import Scenario
from cascadia_sglang.planner.simulation.simulator import simulate_within
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.workload.workload import Workload


def run_scenario(setup: Scenario, profile: Profile, workload: Workload) -> SimulationResult:
    """One run; the same arguments give the same times, and the same requests climb as far at the
    same shares.

    Args:
        profile: with step times and limits of every tier.
    """
    paths = scenario_paths(setup, workload)
    result = run_scenario_within(setup, profile, workload, paths, RunLimit())
    assert result is not None, "a run without a limit was stopped"
    return result


def scenario_paths(setup: Scenario, workload: Workload) -> Paths:
    """The way of every request: the same whatever replicas and step times."""
    return shared_paths(
        workload,
        [tier.share for tier in setup.tiers],
        [tier.length for tier in setup.tiers],
        setup.max_new_tokens,
        setup.seed,
    )


def run_scenario_within(
    setup: Scenario, profile: Profile, workload: Workload, paths: Paths, limit: RunLimit
) -> SimulationResult | None:
    """The same, stopped where the run is certain to exceed a limit; then None.

    Args:
        paths: of the scenario.
    """
    tiers = [
        SimulatedTier(
            name=tier.name,
            pool=tier.pool,
            block=tier.block,
            kept_share=tier.kept,
            prompt_length=tier.prompt_length,
            times=profile.tiers[tier.name],
            limits=profile.limits[tier.name],
            replicas=tier.replicas,
            share=tier.device_share,
            stages=tier.stages,
        )
        for tier in setup.tiers
    ]
    return simulate_within(
        workload, paths, tiers, limit, host=profile.host, is_buffered=setup.is_buffered
    )
