"""Simulates a cascade on its replicas: continuous batching as SGLang does it, request by request.

A simulation is a function of its arguments: the same workload, paths and tiers give the same times
to the last bit. Chance enters only where a workload is drawn, by the seed given there.

Shape legend: R requests, T tiers, W replicas, K knots of a step-time table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.events import run_events
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import Replica, SimulationResult
from cascadia_sglang.planner.simulation.run_limit import RunLimit, set_limit
from cascadia_sglang.planner.simulation.state import (
    ATTEMPT,
    COUNTS,
    DECODE_ROWS,
    DECODE_S,
    PREFILL_S,
    PREFILL_TOKENS,
    REPLICA,
    REQUEST,
    TIER,
    Records,
    SimulatorState,
    new_state,
)
from cascadia_sglang.planner.speed.profile import EngineLimits, HostTimes, StepTimes
from cascadia_sglang.planner.workload.workload import Workload

# SGLang's defaults: SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR, SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS.
_MIN_RATIO_FACTOR, _RATIO_DECAY_STEPS = 0.14, 600
_NO_CHUNK = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTier:
    """One tier's replicas.

    Attributes:
        times: of a step on one whole device, or on the devices of a replica.
        replicas: workers that serve the tier, each alike.
        share: of its device that each has, above 0 and at most 1.
        stages: pipeline stages of a replica. Every stage's batch is a lane of its own with its
            share of requests and memory, and takes a whole step's time.
        pool: of workers that several tiers share; those of its first tier serve all. None for the
            tier's own.
        block: of tiers whose workers share devices, the first of each one, the second of each
            another, and so on. They take turns there: no overlap. None for devices of its own.
        kept_share: of the answer before, from 0 to 1, what the tier keeps of it as a draft; None
            where it writes anew.
        cached_share: of a prompt without block ids, from 0 to 1, what the tier's workers hold
            already and need not compute; it takes memory all the same, as a chat's own past does.
    """

    name: str
    times: StepTimes
    limits: EngineLimits
    replicas: int = 1
    share: float = 1.0
    stages: int = 1
    pool: str | None = None
    block: str | None = None
    cached_share: float = 0.0
    kept_share: float | None = None


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
    found = simulate_within(
        workload,
        paths,
        tiers,
        RunLimit(),
        host=host,
        is_buffered=is_buffered,
        has_strides=has_strides,
    )
    assert found is not None, "a run without a limit was stopped"
    return found


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
    state = _world(workload, paths, tiers, host or HostTimes())
    state.counts_1["has_strides"] = has_strides
    set_limit(state, limit, paths)
    left = run_events(state)
    if left < 0:
        return None
    if left:
        raise RuntimeError(f"{left} requests of a simulation never end")
    return _outcome(state, paths, tiers, is_buffered)


def _world(
    workload: Workload, paths: Paths, tiers: Sequence[SimulatedTier], host: HostTimes
) -> SimulatorState:
    R, T = len(workload), len(tiers)
    requests_R = np.zeros(R, REQUEST)
    requests_R["arrival_s"] = workload.arrival_s_R
    requests_R["input_tokens"] = workload.input_tokens_R
    requests_R["limit_tokens"] = paths.limit_tokens_R
    requests_R["tier"] = paths.first_tier_R
    requests_R["last_tier"] = paths.last_tier_R
    requests_R["blocks_start"] = workload.block_starts_R[:-1]
    requests_R["blocks_end"] = workload.block_starts_R[1:]
    attempts_RT = np.zeros((R, T), ATTEMPT)
    attempts_RT["tokens"] = paths.tokens_RT
    for t, tier in enumerate(tiers):
        if tier.kept_share is not None:
            _read_drafts(attempts_RT, paths, t, tier.kept_share)
    owners_T = _owners(tiers)
    lanes_T = [
        tier.replicas * tier.stages if owner == index else 0
        for index, (owner, tier) in enumerate(zip(owners_T, tiers, strict=True))
    ]
    ends_T = np.cumsum(lanes_T)
    tiers_T = np.zeros(T, TIER)
    tiers_T["end"] = ends_T[owners_T]
    tiers_T["start"] = (ends_T - lanes_T)[owners_T]
    tiers_T["cached_share"] = [tier.cached_share for tier in tiers]
    knots = max(len(pairs) for t in tiers for pairs in (t.times.decode_ms, t.times.prefill_ms))
    replicas_W = np.concatenate(
        [np.repeat(_replica(tier), n) for tier, n in zip(tiers, lanes_T, strict=True)]
    )
    replicas_W["device"] = _devices(tiers, tiers_T)
    tables = [
        np.repeat(_table(tier, knots)[None], n, axis=0)
        for tier, n in zip(tiers, lanes_T, strict=True)
    ]
    counts_1 = np.zeros(1, COUNTS)
    counts_1["cores"] = host.shared_cores
    counts_1["receive_s"] = host.receive_ms / 1e3
    counts_1["respond_s"] = host.respond_ms / 1e3
    counts_1["escalate_s"] = host.escalate_ms / 1e3
    counts_1["wire_delay_s"] = host.wire_ms / 1e3
    counts_1["block_tokens"] = workload.block_tokens
    devices_W = replicas_W["device"]
    has_own_device = len(np.unique(devices_W)) == len(devices_W)
    counts_1["is_independent"] = has_own_device and host.shared_cores == 0.0
    return new_state(
        requests_R,
        attempts_RT,
        tiers_T,
        replicas_W,
        np.concatenate(tables),
        workload.blocks_P,
        counts_1,
    )


def _read_drafts(attempts_RT: Records, paths: Paths, tier: int, kept_share: float) -> None:
    """Let a tier's attempts begin with what they keep of the answers before."""
    brought_R = 0 if paths.draft_tokens_R is None else paths.draft_tokens_R
    is_first_R = paths.first_tier_R >= tier
    draft_R = np.where(is_first_R, brought_R, paths.tokens_RT[:, max(0, tier - 1)])
    draft_R = np.minimum(draft_R, paths.limit_tokens_R)
    longest_R = np.minimum(paths.tokens_RT[:, tier], paths.limit_tokens_R)
    # The token after what is kept is written.
    kept_R = np.minimum(np.rint(kept_share * draft_R), np.maximum(0, longest_R - 1))
    attempts_RT["kept"][:, tier] = kept_R
    attempts_RT["taken_back"][:, tier] = draft_R - kept_R


def _owners(tiers: Sequence[SimulatedTier]) -> list[int]:
    """The tier whose replicas serve each: the first of its pool."""
    pools = [index if tier.pool is None else tier.pool for index, tier in enumerate(tiers)]
    return [pools.index(pool) for pool in pools]


def _devices(tiers: Sequence[SimulatedTier], tiers_T: Records) -> npt.NDArray[np.int64]:
    """The device of every lane, [W]: its own, or that of the block's first tier."""
    device_W = np.arange(int(tiers_T["end"].max()))
    first: dict[str, int] = {}
    for index, tier in enumerate(tiers):
        if tier.block is None:
            continue
        owner = first.setdefault(tier.block, index)
        start, end = tiers_T["start"][index], tiers_T["end"][index]
        if end - start != tiers_T["end"][owner] - tiers_T["start"][owner]:
            raise WorkloadError(
                f"tiers {tiers[owner].name} and {tier.name} share devices: they need as many "
                "replicas and stages"
            )
        device_W[start:end] = device_W[tiers_T["start"][owner] : tiers_T["end"][owner]]
    return device_W


def _replica(tier: SimulatedTier) -> Records:
    """The constants of one lane of a tier, [1]."""
    limits = tier.limits
    lane = np.zeros(1, REPLICA)
    lane["capacity_tokens"] = limits.kv_tokens // tier.stages
    lane["max_running"] = max(1, limits.max_running_requests // tier.stages)
    lane["chunk_tokens"] = limits.chunked_prefill_tokens or _NO_CHUNK
    lane["max_prefill_tokens"] = limits.max_prefill_tokens
    lane["is_blocking"] = limits.is_blocking
    lane["ratio"] = limits.new_token_ratio
    lane["ratio_min"] = limits.new_token_ratio * _MIN_RATIO_FACTOR
    lane["ratio_decay"] = (lane["ratio"] - lane["ratio_min"]) / _RATIO_DECAY_STEPS
    # A step that gives several tokens counts as so many shorter ones.
    context_us = tier.times.decode_context_us / tier.times.tokens_per_step
    lane["decode_context_s"] = context_us / 1e6 / tier.share
    lane["prefill_row_s"] = tier.times.prefill_row_ms / 1e3 / tier.share
    lane["prefill_context_s"] = tier.times.prefill_context_ns / 1e9 / tier.share
    return lane


def _table(tier: SimulatedTier, knots: int) -> FloatArray:
    """The step-time tables of a tier, [J, K]; short ones go on in proportion to their last knot."""
    table_JK = np.empty((4, knots))
    columns = (
        (DECODE_ROWS, DECODE_S, tier.times.token_ms),
        (PREFILL_TOKENS, PREFILL_S, tier.times.prefill_ms),
    )
    for sizes, seconds, pairs in columns:
        known = np.array(pairs, np.float64)
        more = np.arange(2, 2 + knots - len(known))[:, None] * known[-1]
        all_of_it = np.concatenate([known, more])
        table_JK[sizes] = all_of_it[:, 0]
        table_JK[seconds] = all_of_it[:, 1] / 1e3 / tier.share
    return table_JK


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
        np.array(_owners(tiers)) == np.arange(len(tiers)),
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
