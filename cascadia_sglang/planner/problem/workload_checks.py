"""Checks of a problem that has a workload."""

from __future__ import annotations

from collections.abc import Iterator

from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.workload.source import WorkloadSource, source_problems

# What tiers that share workers agree in.
_OF_A_POOL = (
    "model",
    "max_tp",
    "max_pp",
    "prompt_length",
    "chunked_prefill_tokens",
    "max_running_requests",
)


def workload_problems(problem: Problem, source: WorkloadSource) -> Iterator[str]:
    """Everything that is wrong, a line each with its place."""
    for line in source_problems(source):
        yield f"workload.{line}"
    if problem.latency_by_share_s:
        yield "needed: latency_by_share_s or workload, not both"
    if problem.candidates:
        yield "needed: candidates or workload, not both"
    if not problem.calibration:
        yield "workload needs calibration: how requests escalate"
    if not problem.cluster:
        yield "workload needs gpu or cluster: what devices there are"
    yield from _tiers(problem)
    yield from _profiles(problem)
    yield from _sheet(problem)


def _tiers(problem: Problem) -> Iterator[str]:
    for index, tier in enumerate(problem.tiers):
        if tier.kept is not None and index == 0:
            yield f"tiers[{index}].kept is {tier.kept}, allowed: null"
        if tier.model is None and not problem.profiles:
            yield f"tiers[{index}].model is missing: needed where no profile was measured"
        first = next(other for other in problem.tiers if other.workers == tier.workers)
        for name in _OF_A_POOL:
            if getattr(tier, name) != getattr(first, name):
                yield f"tiers[{index}].{name} is not that of {first.name!r}, whose pool it shares"


def _profiles(problem: Problem) -> Iterator[str]:
    types = [kind.gpu for kind in problem.cluster]
    seen = set()
    for index, profile in enumerate(problem.profiles):
        if profile.gpu is not None and profile.gpu not in types:
            yield f"profiles[{index}].gpu is {profile.gpu!r}, allowed: {', '.join(types)}"
        key = (profile.gpu or (types or [""])[0], profile.tp_size, profile.pp_size)
        if key in seen:
            yield f"profiles[{index}] is of the same shape and gpu as one before"
        seen.add(key)


def _sheet(problem: Problem) -> Iterator[str]:
    sheet = problem.gpu
    if sheet is None:
        return
    if problem.cluster and sheet.name not in [kind.gpu for kind in problem.cluster]:
        yield f"gpu.name is {sheet.name!r}, which cluster does not list"
