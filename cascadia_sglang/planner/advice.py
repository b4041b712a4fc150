"""Whether a cascade pays: its latency beside that of every tier alone, on the same GPUs."""

from __future__ import annotations

import msgspec

from cascadia_sglang.errors import ConfigError, PlanError
from cascadia_sglang.planner.latency_curves import Curves
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.replay import build_sample
from cascadia_sglang.planner.solve import solve


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """A tier that answers everything by itself.

    `latency_s` and `gpus` are None where no count of GPUs within the budget serves all requests.
    """

    tier: str
    quality: float
    reaches_floor: bool
    latency_s: float | None
    gpus: int | None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve.

    `cascade` is None where no cascade of these tiers keeps the floor and the budget. `choice` is
    `cascade`, or the name of the tier that is at least as fast alone, or None where nothing keeps
    both.
    """

    choice: str | None
    cascade: Plan | None
    alone: list[Alone]


def advise(problem: Problem, *, time_limit_s: float = 10.0) -> Advice:
    """Compare the best cascade with every tier alone on the same GPUs.

    Args:
        problem: checked, with a calibration sample and latency curves.

    Raises:
        ConfigError: if the problem has explicit candidates: they say nothing of tiers alone; or if
            its objective is `bottleneck`: the slowest tier's latency is less than what a request
            waits that passed others before, while a tier alone is all that its requests wait for.
    """
    if problem.objective != "path":
        raise ConfigError("advice compares mean latency end to end: objective needs to be path")
    if not problem.calibration:
        raise ConfigError("advice needs a problem with calibration and latency_by_share_s")
    alone = [_alone(problem, tier) for tier in range(len(problem.tiers))]
    try:
        cascade: Plan | None = solve(problem, time_limit_s=time_limit_s)
    except PlanError:
        cascade = None
    best: tuple[float, str] | None = None
    for one in alone:
        # Of equals the first: a single tier is simpler than a cascade, a small one than a large.
        if (
            one.reaches_floor
            and one.latency_s is not None
            and (best is None or one.latency_s < best[0])
        ):
            best = one.latency_s, one.tier
    if cascade is not None and (best is None or cascade.objective_s < best[0]):
        best = cascade.objective_s, "cascade"
    return Advice(choice=None if best is None else best[1], cascade=cascade, alone=alone)


def _alone(problem: Problem, tier: int) -> Alone:
    """A tier with all requests and as many GPUs of the budget as help."""
    sample = build_sample(problem.calibration)
    quality = sample.mean(sample.correct_NT[:, tier])
    table = Curves(problem).tables([1.0] * len(problem.tiers))[tier]
    within = [(seconds, gpus) for gpus, seconds in table.items() if gpus <= problem.gpu_budget]
    latency_s, gpus = min(within) if within else (None, None)
    return Alone(
        tier=problem.tiers[tier].name,
        quality=quality,
        reaches_floor=problem.quality_floor is None or quality >= problem.quality_floor,
        latency_s=latency_s,
        gpus=gpus,
    )
