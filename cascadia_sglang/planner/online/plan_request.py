"""A request to the planner: tiers, running replicas, and the requests of a window.

Shape legend: R requests of the window, B under way, T tiers.
"""

from __future__ import annotations

import msgspec

from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.planner.problem.problem import LatencyObjective
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes


class WindowTier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier, the pool that serves it, and how fast one of its workers is.

    Tiers of one `block` share devices.
    """

    name: str
    pool: str
    times: StepTimes
    limits: EngineLimits
    device_share: float = 1.0
    block: str | None = None


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The tiers, what runs now, and the traffic to plan for.

    Attributes:
        pools: what runs now.
        blocks: names of pools that share devices: they have as many replicas, which take the
            devices of one.
        thresholds: in force.
        quality_floor: that other thresholds keep; None where they stay.
        arrival_s_R, input_tokens_R: of the window's requests, in order; prompts are in the first
            tier's tokens.
        prompt_length_T: tokens of a prompt at each tier, relative to the first.
        entry_score_R: of the first tier's answer; None where that was not the first, or not scored.
        ended_early_R: whether the judge ended the first tier's answer.
        tokens_RT: of each request's answer at every tier; 0 where it was not.
        cached_share_T: of the prompts' tokens that the workers of each tier held already.
        kept_share_T: of the answers before that each tier read as drafts, what it kept; None where
            it read none.
        start_s: how long a worker of each pool takes to start.
        horizon_s: for how long these requests come again and again, at most.
        backlog_inputs_B, backlog_tokens_BT: of the requests that are under way, which are served
            before any other: their prompts' tokens, and what they are expected to write at every
            tier from the one on where they are; 0 elsewhere.
    """

    tiers: list[WindowTier]
    pools: dict[str, Capacity]
    thresholds: tuple[float, ...]
    quality_floor: float | None = None
    gpu_budget: int
    blocks: list[list[str]] = []
    objective: LatencyObjective
    arrival_s_R: list[float]
    input_tokens_R: list[int]
    entry_score_R: list[float | None]
    ended_early_R: list[bool]
    tokens_RT: list[list[int]]
    prompt_length_T: list[float]
    cached_share_T: list[float]
    kept_share_T: list[float | None]
    start_s: dict[str, float] = {}
    horizon_s: float
    backlog_inputs_B: list[int] = []
    backlog_tokens_BT: list[list[int]] = []
