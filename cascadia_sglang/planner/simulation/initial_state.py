"""The state that a simulation starts from: the arrays of requests, attempts, tiers and replicas.

Shape legend: R requests, T tiers, W replicas, K knots of a step-time table.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.paths import Paths
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
from cascadia_sglang.planner.simulation.tiers import SimulatedTier, owners_of
from cascadia_sglang.planner.speed.profile import HostTimes
from cascadia_sglang.planner.workload.workload import Workload, scaled_tokens

# SGLang's defaults: SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR, SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS.
_MIN_RATIO_FACTOR, _RATIO_DECAY_STEPS = 0.14, 600
_NO_CHUNK = 0


def initial_state(
    workload: Workload, paths: Paths, tiers: Sequence[SimulatedTier], host: HostTimes
) -> SimulatorState:
    """The state before the first event. Arguments as `simulate` takes them.

    Raises:
        WorkloadError: if tiers that share devices have different numbers of replicas or stages, or
            tiers that share workers another `prompt_length`.
    """
    R, T = len(workload), len(tiers)
    requests_R = np.zeros(R, REQUEST)
    requests_R["arrival_s"] = workload.arrival_s_R
    requests_R["limit_tokens"] = paths.limit_tokens_R
    requests_R["tier"] = paths.first_tier_R
    requests_R["last_tier"] = paths.last_tier_R
    requests_R["blocks_start"] = workload.block_starts_R[:-1]
    requests_R["blocks_end"] = workload.block_starts_R[1:]
    attempts_RT = np.zeros((R, T), ATTEMPT)
    attempts_RT["tokens"] = paths.tokens_RT
    owners_T = owners_of(tiers)
    for t, tier in enumerate(tiers):
        owner = tiers[owners_T[t]]
        if tier.prompt_length != owner.prompt_length:
            raise WorkloadError(
                f"tiers {owner.name} and {tier.name} share workers: they need one prompt_length"
            )
        own_workload = workload.with_prompts(tier.prompt_length)
        attempts_RT["input_tokens"][:, t] = own_workload.input_tokens_R
        if tier.kept_share is not None:
            attempts_RT["kept"][:, t], attempts_RT["taken_back"][:, t] = _drafts(paths, tiers, t)
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
        [np.repeat(_replica(tier, workload), n) for tier, n in zip(tiers, lanes_T, strict=True)]
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
    devices_W = replicas_W["device"]
    has_own_device = len(np.unique(devices_W)) == len(devices_W)
    counts_1["is_independent"] = has_own_device and host.shared_cores == 0.0
    return new_state(
        requests_R,
        attempts_RT,
        tiers_T,
        replicas_W,
        np.concatenate(tables),
        np.ascontiguousarray(workload.blocks_P),
        counts_1,
    )


def _drafts(paths: Paths, tiers: Sequence[SimulatedTier], tier: int) -> tuple[IntArray, IntArray]:
    """What a tier's attempts keep of the answers before, and what they take back, [R] each."""
    brought_R = 0 if paths.draft_tokens_R is None else paths.draft_tokens_R
    before = max(0, tier - 1)
    # An answer has as many more or fewer tokens for its reader as a prompt has.
    length = tiers[tier].prompt_length / tiers[before].prompt_length
    is_first_R = paths.first_tier_R >= tier
    draft_R = np.where(is_first_R, brought_R, scaled_tokens(paths.tokens_RT[:, before], length))
    draft_R = np.minimum(draft_R, paths.limit_tokens_R)
    longest_R = np.minimum(paths.tokens_RT[:, tier], paths.limit_tokens_R)
    # The token after what is kept is written.
    kept_share = tiers[tier].kept_share or 0.0
    kept_R = np.minimum(np.rint(kept_share * draft_R), np.maximum(0, longest_R - 1))
    kept_R = kept_R.astype(np.int64)
    return kept_R, draft_R - kept_R


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


def _replica(tier: SimulatedTier, workload: Workload) -> Records:
    """The constants of one lane of a tier, [1]."""
    limits = tier.limits
    lane = np.zeros(1, REPLICA)
    lane["block_tokens"] = workload.with_prompts(tier.prompt_length).block_tokens
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
        knots_n2 = np.array(pairs, np.float64)
        more = np.arange(2, 2 + knots - len(knots_n2))[:, None] * knots_n2[-1]
        all_of_it = np.concatenate([knots_n2, more])
        table_JK[sizes] = all_of_it[:, 0]
        table_JK[seconds] = all_of_it[:, 1] / 1e3 / tier.share
    return table_JK
