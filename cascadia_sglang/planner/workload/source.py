"""Where a problem's requests come from: a trace, or numbers that do not change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

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

# Requests of a workload that is told by numbers alone.
STATIONARY_REQUESTS = 2_000


class WorkloadSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests to plan for.

    Either `trace` names a file, of which `requests` count after the first `skip`, at the mean rate
    `rate_per_s` in place of its own. Or requests come as a Poisson process of that rate, with
    log-normal lengths of these means and, relative to them, the standard deviation `length_cv`.
    """

    trace: str | None = None
    block_tokens: int = MOONCAKE_BLOCK_TOKENS
    requests: int | None = None
    skip: int = 0
    rate_per_s: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    length_cv: float = 1.0
    seed: int = 0


def source_problems(source: WorkloadSource) -> Iterator[str]:
    """Everything that is wrong with a source, a line each with its place."""
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
    rate = source.rate_per_s
    if rate is not None and not 0 < rate < math.inf:
        yield f"rate_per_s is {rate}, allowed: finite, above 0"
    for name in ("input_tokens", "output_tokens"):
        tokens = getattr(source, name)
        if tokens is not None and not 1 <= tokens < math.inf:
            yield f"{name} is {tokens}, allowed: finite, 1 or more"
    if not 0 <= source.length_cv < math.inf:
        yield f"length_cv is {source.length_cv}, allowed: finite, 0 or more"
    if source.requests is not None and source.requests < 2:
        yield f"requests is {source.requests}, a rate needs 2 or more"
    if source.block_tokens < 1:
        yield f"block_tokens is {source.block_tokens}, allowed: 1 or more"
    for name in ("seed", "skip"):
        if getattr(source, name) < 0:
            yield f"{name} is {getattr(source, name)}, allowed: 0 or more"


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
