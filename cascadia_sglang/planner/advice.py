"""Whether a cascade pays: beside every tier alone and a router, in latency and in GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from cascadia_sglang.errors import ConfigError, PlanError
from cascadia_sglang.planner.baseline_router import RouterResult, best_router
from cascadia_sglang.planner.latency.curves import Curves, Latencies
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.thresholds.replay import build_sample
from cascadia_sglang.planner.thresholds.search import choose_and_allocate

CASCADE, ROUTER = "cascade", "router"


class SingleTier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier that answers everything by itself.

    `latency_s` and `gpus` are None where no count of GPUs within the budget serves all requests.
    """

    tier: str
    quality: float
    reaches_floor: bool
    latency_s: float | None
    gpus: int | None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve, by mean latency of a request at the same quality floor."""

    choice: str | None
    """`cascade`, `router` or the name of a tier:

    the fastest, of equals the simplest. None: nothing keeps budget and floor.
    """
    cascade: Plan | None
    """The best cascade. None: no cascade keeps budget and floor."""
    router: RouterResult | None
    """The best router. None: no router keeps budget and floor."""
    alone: list[SingleTier]
    """Every tier by itself."""
    reference_s: float | None
    """Least latency without a cascade, in seconds."""
    least_gpus: dict[str, int]
    """How few GPUs reach that latency, by the names of `choice`."""


def advise(problem: Problem, *, time_limit_s: float = 10.0, workers: int = 0) -> Advice:
    """Compare the best cascade with every tier alone and the best router on the same GPUs.

    Args:
        problem: checked, with a calibration sample, and latency curves or a workload.
        workers: threads that simulate what a workload needs; 0 simulates here.

    Raises:
        ConfigError: if the problem has explicit candidates, or curves for the objective
            `bottleneck`. Candidates say nothing of a tier alone. Curves of p95 latencies do not
            add up to the latency of a request.
    """
    if not problem.calibration:
        raise ConfigError("advice needs calibration with latency_by_share_s or a workload")
    if problem.objective == "bottleneck" and problem.workload is None:
        raise ConfigError("advice compares mean latency end to end: objective needs to be path")
    # A workload's latencies are simulated, so means are known whatever the objective.
    problem = msgspec.structs.replace(problem, objective="path")
    latencies = _latencies(problem, workers)
    # By itself a tier has no draft to read.
    anew = _writing_anew(problem)
    direct = latencies if anew == problem else _latencies(anew, workers)
    alone = [_alone(problem, direct, tier) for tier in range(len(problem.tiers))]
    router = best_router(problem, direct) if len(problem.tiers) > 1 else None
    cascade = _cascade(problem, latencies, time_limit_s)
    baselines = [(single.latency_s, single.tier) for single in alone if single.reaches_floor]
    if router is not None:
        baselines.append((router.latency_s, ROUTER))
    others = [(seconds, name) for seconds, name in baselines if seconds is not None]
    # `min` keeps the first of equals: a single tier is simpler than a router, and that than a
    # cascade.
    reference_s = min((seconds for seconds, _ in others), default=None)
    if cascade is not None:
        others.append((cascade.objective_s, CASCADE))
    choice = min(others, key=lambda pair: pair[0], default=(0.0, None))[1]
    least: dict[str, int] = {}
    if reference_s is not None:
        least = _least_gpus(problem, latencies, direct, alone, reference_s, time_limit_s)
    return Advice(
        choice=choice,
        cascade=cascade,
        router=router,
        alone=alone,
        reference_s=reference_s,
        least_gpus=least,
    )


def _latencies(problem: Problem, workers: int) -> Latencies:
    if problem.workload is None:
        return Curves(problem)
    # It brings a compiler along, which the rest has no use for.
    from cascadia_sglang.planner.from_workload import latencies_of_source

    return latencies_of_source(problem, JobRunner(workers))


def _writing_anew(problem: Problem) -> Problem:
    """The problem with tiers that read no drafts."""
    tiers = [msgspec.structs.replace(tier, kept=None) for tier in problem.tiers]
    return msgspec.structs.replace(problem, tiers=tiers)


def _cascade(problem: Problem, latencies: Latencies, time_limit_s: float) -> Plan | None:
    try:
        return choose_and_allocate(problem, latencies, time_limit_s=time_limit_s)
    except PlanError:
        return None


def _alone(problem: Problem, latencies: Latencies, tier: int) -> SingleTier:
    """A tier with all requests and as many GPUs of the budget as help."""
    sample = build_sample(problem.calibration)
    quality = sample.mean(sample.correct_NT[:, tier])
    table = latencies.table(tier, 1.0)
    within = [(seconds, gpus) for gpus, seconds in table.items() if gpus <= problem.gpu_budget]
    latency_s, gpus = min(within) if within else (None, None)
    return SingleTier(
        tier=problem.tiers[tier].name,
        quality=quality,
        reaches_floor=problem.quality_floor is None or quality >= problem.quality_floor,
        latency_s=latency_s,
        gpus=gpus,
    )


def _least_gpus(
    problem: Problem,
    latencies: Latencies,
    direct: Latencies,
    alone: list[SingleTier],
    reference_s: float,
    time_limit_s: float,
) -> dict[str, int]:
    """How few GPUs bring each option to a latency; those that none brings there are left out.

    Args:
        latencies: of a cascade.
        direct: of tiers that requests reach first.
    """

    def smaller(full: Latencies, gpus: int) -> tuple[Problem, Latencies]:
        return msgspec.structs.replace(problem, gpu_budget=gpus), full.with_budget(gpus)

    def routed_s(gpus: int) -> float:
        router = best_router(*smaller(direct, gpus))
        return math.inf if router is None else router.latency_s

    def cascaded_s(gpus: int) -> float:
        cascade = _cascade(*smaller(latencies, gpus), time_limit_s)
        return math.inf if cascade is None else cascade.objective_s

    least: dict[str, int] = {}
    for tier, single in enumerate(alone):
        fast = [
            gpus
            for gpus, seconds in direct.table(tier, 1.0).items()
            if seconds <= reference_s and gpus <= problem.gpu_budget
        ]
        if single.reaches_floor and fast:
            least[single.tier] = min(fast)
    searched: list[tuple[str, Callable[[int], float]]] = [(CASCADE, cascaded_s)]
    if len(alone) > 1:
        searched.insert(0, (ROUTER, routed_s))
    for name, latency_of in searched:
        gpus = _first_within(reference_s, problem.gpu_budget, latency_of)
        if gpus is not None:
            least[name] = gpus
    return least


def _first_within(limit_s: float, most: int, latency_of: Callable[[int], float]) -> int | None:
    """The least count of GPUs up to `most` with a latency within a limit; more are no slower."""
    if latency_of(most) > limit_s:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if latency_of(middle) <= limit_s:
            high = middle
        else:
            low = middle + 1
    return high
