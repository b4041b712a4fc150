"""What a problem with a workload must keep to."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.workload.source import WorkloadSource, source_problems


def workload_problems(problem: Problem, source: WorkloadSource) -> Iterator[str]:
    """Everything that is wrong, a line each with its place."""
    for line in source_problems(source):
        yield f"workload.{line}"
    if problem.latency_by_share_s:
        yield "needed: latency_by_share_s or workload, not both"
    if problem.candidates:
        yield "needed: candidates or workload, not both"
    if not problem.calibration:
        yield "workload needs calibration: how requests climb"
    if not problem.cluster:
        yield "workload needs gpu or cluster: what devices there are"
    yield from _tiers(problem)
    yield from _profiles(problem)
    yield from _sheet(problem)
    for name in problem.slo.__struct_fields__:
        target_ms = getattr(problem.slo, name)
        if target_ms is not None and not (isfinite(target_ms) and target_ms > 0):
            yield f"slo.{name} is {target_ms}, allowed: finite, above 0"


def _tiers(problem: Problem) -> Iterator[str]:
    for index, tier in enumerate(problem.tiers):
        for name in ("max_tp", "max_pp", "chunked_prefill_tokens", "max_running_requests"):
            number = getattr(tier, name)
            if number is not None and number < 1:
                yield f"tiers[{index}].{name} is {number}, allowed: 1 or more"
        if not (isfinite(tier.length) and tier.length > 0):
            yield f"tiers[{index}].length is {tier.length}, allowed: finite, above 0"
        if tier.kept is not None and (index == 0 or not 0 <= tier.kept <= 1):
            allowed = "null" if index == 0 else "0 to 1, or null"
            yield f"tiers[{index}].kept is {tier.kept}, allowed: {allowed}"
        if tier.model is None and not problem.profiles:
            yield f"tiers[{index}].model is missing: needed where no profile was measured"
        first = next(one for one in problem.tiers if one.workers == tier.workers)
        for name in ("model", "max_tp", "max_pp", "chunked_prefill_tokens", "max_running_requests"):
            if getattr(tier, name) != getattr(first, name):
                yield f"tiers[{index}].{name} is not that of {first.name!r}, whose pool it shares"


def _profiles(problem: Problem) -> Iterator[str]:
    types = [kind.gpu for kind in problem.cluster]
    seen = set()
    for index, one in enumerate(problem.profiles):
        if one.gpu is not None and one.gpu not in types:
            yield f"profiles[{index}].gpu is {one.gpu!r}, allowed: {', '.join(types)}"
        for name in ("tp_size", "pp_size"):
            if getattr(one, name) < 1:
                yield f"profiles[{index}].{name} is {getattr(one, name)}, allowed: 1 or more"
        key = (one.gpu or (types or [""])[0], one.tp_size, one.pp_size)
        if key in seen:
            yield f"profiles[{index}] is of the same shape and gpu as one before"
        seen.add(key)


def _sheet(problem: Problem) -> Iterator[str]:
    told = problem.gpu
    if told is None:
        return
    for name in ("tflops", "memory_gb", "memory_gb_per_s", "link_gb_per_s", "gpus_per_node"):
        number = getattr(told, name)
        if number is not None and not (isfinite(number) and number > 0):
            yield f"gpu.{name} is {number}, allowed: finite, above 0"
    if problem.cluster and told.name not in [kind.gpu for kind in problem.cluster]:
        yield f"gpu.name is {told.name!r}, which cluster does not list"
