"""Where a problem's requests come from: a trace, or numbers that do not change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.workload.traces import load_trace
from cascadia_sglang.planner.workload.workload import (
    MOONCAKE_BLOCK_TOKENS,
    Workload,
    build_workload,
    poisson_arrivals_s,
)
from cascadia_sglang.value_ranges import Count, CountOrZero, NotNegative, Positive, bounds

# Requests of a workload that is told by numbers alone.
STATIONARY_REQUESTS = 2_000

OneOrMore = Annotated[float, bounds(minimum=1)]
TwoOrMore = Annotated[int, bounds(minimum=2)]


class WorkloadSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests to plan for: a trace, or a Poisson process.

    Without a trace, `rate_per_s`, `input_tokens` and `output_tokens` are needed.
    """

    trace: str | None = None
    """Trace file."""
    block_tokens: Count = MOONCAKE_BLOCK_TOKENS
    """Tokens of a prefix block of the trace."""
    requests: TwoOrMore | None = None
    """Requests that count. null: all of the trace, or 2,000."""
    skip: CountOrZero = 0
    """Requests of the trace that are left out before those."""
    rate_per_s: Positive | None = None
    """Mean rate of requests per second. null: the trace's own."""
    input_tokens: OneOrMore | None = None
    """Mean tokens of a prompt. Lengths are log-normal."""
    output_tokens: OneOrMore | None = None
    """Mean tokens of an answer."""
    length_cv: NotNegative = 1.0
    """Standard deviation of both lengths, relative to their means."""
    seed: CountOrZero = 0
    """Seed of the draws."""


def source_problems(source: WorkloadSource) -> Iterator[str]:
    """What is wrong with a source beyond the ranges of its numbers, a line each with its place."""
    if source.trace is None:
        for name in ("rate_per_s", "input_tokens", "output_tokens"):
            if getattr(source, name) is None:
                yield f"{name} is missing: needed without a trace"
        if source.skip:
            yield "skip is given without a trace"
    else:
        for name in ("input_tokens", "output_tokens"):
            if getattr(source, name) is not None:
                yield f"{name} is given beside a trace, which has its own"


def load_workload(source: WorkloadSource) -> Workload:
    """The requests of a source without problems.

    Raises:
        WorkloadError: if the trace cannot be read or says too little; names the file.
    """
    if source.trace is None:
        return _stationary(source)
    workload = load_trace(
        Path(source.trace), source.block_tokens, requests=source.requests, skip=source.skip
    )
    return workload if source.rate_per_s is None else workload.at_rate(source.rate_per_s)


def _stationary(source: WorkloadSource) -> Workload:
    count = STATIONARY_REQUESTS if source.requests is None else source.requests
    random = np.random.default_rng(source.seed)
    inputs, outputs = (
        _lengths(random, tokens or 1.0, source.length_cv, count)
        for tokens in (source.input_tokens, source.output_tokens)
    )
    arrivals_s = poisson_arrivals_s(source.rate_per_s or 0.0, count, source.seed)
    return build_workload(arrivals_s, inputs, outputs)


def _lengths(random: np.random.Generator, mean: float, cv: float, count: int) -> FloatArray:
    variance = math.log1p(cv * cv)
    drawn = random.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), count)
    lengths: FloatArray = np.maximum(1.0, np.rint(drawn))
    return lengths
