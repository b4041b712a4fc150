"""Latencies that no run undercuts: every attempt alone, on warm prefixes, without a queue.

A step with more rows, tokens or context takes no less, so an attempt takes at least what its own
prefill and its own decoding steps take alone. Prefixes count as held if any request before had
them. Sums over requests of these latencies bound every plan's mean, and their quantiles its
attainment of targets.

Shape legend: R requests, T tiers, K knots of a step-time table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.speed.profile import StepTimes
from cascadia_sglang.planner.workload.workload import Workload, scaled_tokens


class LeastTimes:
    """Least seconds of the attempts of a workload's requests, by tier and shape."""

    def __init__(self, problem: Problem, workload: Workload) -> None:
        self._problem = problem
        self._workload = workload
        # As each tier's tokenizer counts the prompts.
        self._workloads = [workload.with_prompts(tier.prompt_length) for tier in problem.tiers]
        self._held_T = [held_tokens(own_workload) for own_workload in self._workloads]
        self._known: dict[tuple[int, ParallelKey], FloatArray] = {}
        self._known_reached: dict[tuple[float, ...], BoolArray] = {}
        self._known_requests: dict[RequestKey, FloatArray] = {}
        lengths = [tier.length for tier in problem.tiers]
        # What each tier writes does not depend on who climbs.
        paths = shared_paths(workload, [1.0] * len(lengths), lengths, None, problem.routing.seed)
        self._tokens_RT = paths.tokens_RT

    def attempt_s(self, tier: int, shape: ParallelShape) -> FloatArray:
        """Least seconds of every request's attempt at a tier, [R]."""
        key = (tier, (shape.gpu, shape.tp, shape.pp))
        if key not in self._known:
            self._known[key] = least_attempt_s(
                shape.times,
                shape.limits.chunked_prefill_tokens or 0,
                self.input_tokens(tier),
                self._held_T[tier],
                self._tokens_RT[:, tier],
                self._kept(tier),
            )
        return self._known[key]

    def reached(self, shares: Sequence[float]) -> BoolArray:
        """Which requests reach each tier, as a simulation draws them."""
        key = tuple(shares)
        if key not in self._known_reached:
            paths = shared_paths(
                self._workload, shares, [1.0] * len(shares), None, self._problem.routing.seed
            )
            reached_RT: BoolArray = np.arange(len(shares)) <= paths.last_tier_R[:, None]
            self._known_reached[key] = reached_RT
        return self._known_reached[key]

    def request_s(self, shares: Sequence[float], shapes: Sequence[ParallelShape]) -> FloatArray:
        """Least seconds of every request on its way over the tiers, [R]."""
        key = (tuple(shares), tuple((shape.gpu, shape.tp, shape.pp) for shape in shapes))
        if key not in self._known_requests:
            attempts_RT = np.stack(
                [self.attempt_s(tier, shape) for tier, shape in enumerate(shapes)], axis=1
            )
            request_s_R: FloatArray = (attempts_RT * self.reached(shares)).sum(axis=1)
            self._known_requests[key] = request_s_R
        return self._known_requests[key]

    def slowest_s(self, shares: Sequence[float], shapes: Sequence[ParallelShape]) -> float:
        """The least that the p95 of the slowest tier's attempts can be."""
        reached_RT = self.reached(shares)
        return max(
            float(np.quantile(self.attempt_s(tier, shape)[reached_RT[:, tier]], 0.95))
            for tier, shape in enumerate(shapes)
            if reached_RT[:, tier].any()
        )

    def new_tokens(self, tier: int) -> tuple[IntArray, IntArray]:
        """Prompt tokens to prefill and tokens to decode of every request at a tier, [R], at least.

        The first token of an answer comes with its prefill.
        """
        kept_R = self._kept(tier)
        begun_R = 0 if kept_R is None else kept_R
        new_R = self.input_tokens(tier) - self._held_T[tier]
        return new_R, np.maximum(0, self._tokens_RT[:, tier] - begun_R - 1)

    def input_tokens(self, tier: int) -> IntArray:
        """Tokens of the prompts at a tier, [R]."""
        return self._workloads[tier].input_tokens_R

    def _kept(self, tier: int) -> IntArray | None:
        """Tokens that an attempt keeps of the answer before; None where the tier writes anew."""
        share = self._problem.tiers[tier].kept
        if share is None:
            return None
        tokens_R = self._tokens_RT[:, tier]
        tiers = self._problem.tiers
        length = tiers[tier].prompt_length / tiers[tier - 1].prompt_length
        draft_R = scaled_tokens(self._tokens_RT[:, tier - 1], length)
        draft_R = np.minimum(draft_R, self._tokens_RT.max(axis=1))
        kept_R: IntArray = np.minimum(
            np.rint(share * draft_R).astype(np.int64), np.maximum(0, tokens_R - 1)
        )
        return kept_R


# Type of GPU, tensor parallel size, pipeline stages.
ParallelKey = tuple[str, int, int]
# Shares, and a shape of every tier.
RequestKey = tuple[tuple[float, ...], tuple[ParallelKey, ...]]


def held_tokens(workload: Workload) -> IntArray:
    """Tokens of each prompt whose prefix blocks an earlier request had, [R]; never all of them."""
    count = len(workload)
    blocks_R = np.diff(workload.block_starts_R)
    held_R = np.zeros(count, np.int64)
    if not len(workload.blocks_P):
        return held_R
    owner_P = np.repeat(np.arange(count), blocks_R)
    first_P = np.full(int(workload.blocks_P.max()) + 1, count)
    np.minimum.at(first_P, workload.blocks_P, owner_P)
    is_new_P = first_P[workload.blocks_P] >= owner_P
    # Leading blocks up to the first that is new.
    index_P = np.arange(len(owner_P)) - workload.block_starts_R[:-1][owner_P]
    leading_R = blocks_R.copy()
    np.minimum.at(leading_R, owner_P[is_new_P], index_P[is_new_P])
    held_R = leading_R * workload.block_tokens
    found_R: IntArray = np.minimum(held_R, workload.input_tokens_R - 1)
    return found_R


def least_attempt_s(
    times: StepTimes,
    chunk_tokens: int,
    input_tokens_R: IntArray,
    held_R: IntArray,
    tokens_R: IntArray,
    kept_R: IntArray | None = None,
) -> FloatArray:
    """Seconds that attempts take at least, [R], at any load and batch.

    Args:
        chunk_tokens: prompt tokens of a prefill step at most; 0 for no limit.
        held_R: tokens of the prompts that a cache may hold.
        kept_R: tokens that an attempt begins with.
    """
    begun_R = np.zeros_like(tokens_R) if kept_R is None else kept_R
    whole_R = input_tokens_R + begun_R
    new_R = whole_R - held_R
    sizes_K, seconds_K = _never_falling(times.prefill_ms)
    least_s, per_token_s = seconds_K[0], float((seconds_K / sizes_K).min())
    # Cut in two or more, a prompt takes no less than its tokens at the best rate, nor two steps.
    cut_s_R = np.maximum(per_token_s * new_R, 2.0 * least_s)
    at_once_s_R = _interpolated(sizes_K, seconds_K, new_R)
    prefill_s_R = np.minimum(at_once_s_R, cut_s_R)
    if chunk_tokens:
        chunks_R = -(-new_R // chunk_tokens)
        chunked_s_R = np.maximum(per_token_s * new_R, chunks_R * least_s)
        prefill_s_R = np.where(new_R > chunk_tokens, chunked_s_R, prefill_s_R)
    steps_R = np.maximum(0, tokens_R - begun_R - 1)
    # The context of a step: the prompt and what is written so far.
    context_R = steps_R * (whole_R + 0.5 * (steps_R + 1))
    decode_s = min(ms for _, ms in times.decode_ms) / 1e3
    attempt_s_R: FloatArray = (
        prefill_s_R + steps_R * decode_s + times.decode_context_us / 1e6 * context_R
    )
    return attempt_s_R


def _never_falling(pairs: Sequence[tuple[int, float]]) -> tuple[FloatArray, FloatArray]:
    """Sizes and seconds [K] of a table, lowered where a larger size takes less."""
    sizes_K, ms_K = np.array(pairs, np.float64).T
    seconds_K = np.minimum.accumulate(ms_K[::-1])[::-1] / 1e3
    return sizes_K, seconds_K


def _interpolated(sizes_K: FloatArray, seconds_K: FloatArray, sizes_R: IntArray) -> FloatArray:
    """As the simulator: level below the table, in proportion above."""
    interpolated_R: FloatArray = np.interp(sizes_R, sizes_K, seconds_K)
    return np.where(sizes_R > sizes_K[-1], seconds_K[-1] * sizes_R / sizes_K[-1], interpolated_R)
