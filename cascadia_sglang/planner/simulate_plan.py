"""Simulates a plan's file on the requests that it was made for, or on a trace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.run_scenario import run_scenario
from cascadia_sglang.planner.simulation.scenario import Scenario, load_scenario
from cascadia_sglang.planner.workload.slo import Slo
from cascadia_sglang.planner.workload.source import load_workload
from cascadia_sglang.planner.workload.traces import load_trace
from cascadia_sglang.planner.workload.workload import MOONCAKE_BLOCK_TOKENS, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A simulated run of a cascade.

    Attributes:
        outcome: times of every request.
        slo: latency targets of the plan.
        rate_per_s: mean arrival rate of the requests.
        profile: where the step times come from, and of which device they are.
    """

    outcome: SimulationResult
    slo: Slo
    rate_per_s: float
    profile: str

    def summary(self) -> dict[str, Any]:
        """Latencies in milliseconds, attainment of the targets and use of the tiers, for JSON."""
        return {
            **self.outcome.summary(self.slo),
            "profile": self.profile,
            "rate_per_s": self.rate_per_s,
        }


def simulate(
    plan: Path | str,
    *,
    trace: Path | str | None = None,
    rate_per_s: float | None = None,
    requests: int | None = None,
    skip: int = 0,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
    seed: int | None = None,
) -> Simulation:
    """Simulate a plan's file: latencies per tier and path, and attainment of its targets.

    Args:
        plan: a plan that was made from a workload, or a setup file.
        trace: requests in place of those that the plan was made for.
        rate_per_s: mean rate in place of the requests' own.
        requests: how many are simulated; None for all.
        skip: requests of the trace that are left out before those.
        block_tokens: tokens of a prefix block of the trace.
        seed: of the draw of the requests that escalate; None for the plan's.

    Raises:
        ConfigError: if a file is missing or does not fit; names the file and the place.
        WorkloadError: if the trace cannot be read or is too small.
    """
    plan = Path(plan)
    setup, profile = load_scenario(plan)
    if trace is not None:
        workload = load_trace(Path(trace), block_tokens, requests=requests, skip=skip)
    else:
        workload = _workload_of(setup, plan, requests, skip)
    if rate_per_s is not None:
        workload = workload.at_rate(rate_per_s)
    if seed is not None:
        setup = msgspec.structs.replace(setup, seed=seed)
    return Simulation(
        outcome=run_scenario(setup, profile, workload),
        slo=setup.slo,
        rate_per_s=workload.rate_per_s,
        profile=f"{profile.source}: {profile.device}",
    )


def _workload_of(setup: Scenario, plan: Path, requests: int | None, skip: int) -> Workload:
    if setup.workload is None:
        raise ConfigError(f"plan {plan}: it names no workload: --trace is needed")
    if skip:
        raise ConfigError("--skip needs --trace; a plan's own workload says its own")
    workload = load_workload(setup.workload)
    return workload if requests is None else workload.part(0, requests)
