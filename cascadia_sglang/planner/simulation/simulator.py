"""Simulates a cascade on its replicas: continuous batching as SGLang does it, request by request.

A simulation is a function of its arguments: the same workload, paths and tiers give the same times
to the last bit. Chance enters only where a workload is drawn, by the seed given there.

Shape legend: R requests, T tiers.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.initial_state import initial_state
from cascadia_sglang.planner.simulation.machine_code import run_events
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import Replica, SimulationResult
from cascadia_sglang.planner.simulation.run_limit import RunLimit, set_limit
from cascadia_sglang.planner.simulation.state import SimulatorState
from cascadia_sglang.planner.simulation.tiers import SimulatedTier, owners_of
from cascadia_sglang.planner.speed.profile import HostTimes
from cascadia_sglang.planner.workload.workload import Workload


def simulate(
    workload: Workload,
    paths: Paths,
    tiers: Sequence[SimulatedTier],
    *,
    host: HostTimes | None = None,
    is_buffered: bool = False,
    has_strides: bool = True,
) -> SimulationResult:
    """Run a workload through a cascade and see when every answer comes.

    Args:
        paths: which tiers each request of the workload visits, and how long it writes there.
        tiers: smallest first, as in `paths`.
        host: the front's work; none by default.
        is_buffered: whether answers leave whole, so that the first token comes with the last.
        has_strides: whether decoding steps that change nothing but lengths are one event. Without,
            the times are the same but for rounding, and take many times as long.

    Raises:
        WorkloadError: if paths and workload differ, or a tier has no replica.
    """
    outcome = simulate_within(
        workload,
        paths,
        tiers,
        RunLimit(),
        host=host,
        is_buffered=is_buffered,
        has_strides=has_strides,
    )
    assert outcome is not None, "a run without a limit was stopped"
    return outcome


def simulate_within(
    workload: Workload,
    paths: Paths,
    tiers: Sequence[SimulatedTier],
    limit: RunLimit,
    *,
    host: HostTimes | None = None,
    is_buffered: bool = False,
    has_strides: bool = True,
) -> SimulationResult | None:
    """As `simulate`, but stopped where the run is certain to exceed a limit; then None.

    Raises:
        WorkloadError: as `simulate`.
    """
    if len(paths.last_tier_R) != len(workload) or paths.tokens_RT.shape[1] != len(tiers):
        raise WorkloadError(
            f"paths are of {paths.tokens_RT.shape[0]} requests and {paths.tokens_RT.shape[1]} "
            f"tiers, the workload has {len(workload)} and the cascade {len(tiers)}"
        )
    for tier in tiers:
        if tier.replicas < 1 or tier.stages < 1 or not 0.0 < tier.share <= 1.0:
            raise WorkloadError(
                f"tier {tier.name}: {tier.replicas} replicas of {tier.stages} stages with "
                f"{tier.share:g} of a device, allowed: from 1, from 1, above 0 to 1"
            )
    state = initial_state(workload, paths, tiers, host or HostTimes())
    state.counts_1["has_strides"] = has_strides
    set_limit(state, limit, paths)
    if state.counts_1["late_left"][0] < 0.0:
        return None
    unfinished = run_events(state)
    if unfinished < 0:
        return None
    if unfinished:
        raise RuntimeError(f"{unfinished} requests of a simulation never end")
    return _outcome(state, paths, tiers, is_buffered)


def _outcome(
    state: SimulatorState, paths: Paths, tiers: Sequence[SimulatedTier], is_buffered: bool
) -> SimulationResult:
    requests_R, attempts_RT = state.requests_R, state.attempts_RT
    rows_R = np.arange(len(requests_R))
    last = attempts_RT[rows_R, paths.last_tier_R]
    e2e_s_R: npt.NDArray[np.float64] = requests_R["finish_s"] - requests_R["arrival_s"]
    # After its first token an answer takes the same way to the client as after its last.
    way_s_R = requests_R["finish_s"] - last["done_s"]
    first_s_R = last["first_s"] + way_s_R - requests_R["arrival_s"]
    lanes_T = np.where(
        np.array(owners_of(tiers)) == np.arange(len(tiers)),
        state.tiers_T["end"] - state.tiers_T["start"],
        0,
    )
    owners = np.repeat(np.arange(len(tiers)), lanes_T)
    return SimulationResult(
        tier_names=tuple(tier.name for tier in tiers),
        status_R=requests_R["status"].copy(),
        last_tier_R=paths.last_tier_R,
        tokens_R=np.minimum(paths.tokens_RT[rows_R, paths.last_tier_R], paths.limit_tokens_R),
        arrival_s_R=requests_R["arrival_s"].copy(),
        e2e_s_R=e2e_s_R,
        ttft_s_R=e2e_s_R if is_buffered else first_s_R,
        attempt_ttft_s_RT=attempts_RT["first_s"] - attempts_RT["dispatched_s"],
        attempt_e2e_s_RT=attempts_RT["done_s"] - attempts_RT["dispatched_s"],
        replicas=tuple(
            Replica(
                tier=int(owner),
                busy_s=float(lane["busy_s"]),
                steps=int(lane["steps"]),
                row_steps=int(lane["row_steps"]),
                prefill_tokens=int(lane["prefill_tokens"]),
                hit_tokens=int(lane["hit_tokens"]),
                retracted=int(lane["retracted"]),
            )
            for owner, lane in zip(owners, state.replicas_W, strict=True)
        ),
    )
