"""A router before any tier has answered: one tier a request, chosen from the prompt alone.

It sends a request to the first tier whose predicted chance of a right answer reaches that tier's
threshold, as `routing.entry: predicted` does, and what that tier says goes out. Where the sample
holds no predictions, a router that knows nothing stands for it: it sends fixed shares to the tiers
by chance, which any router should beat.

Shape legend: T tiers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.latency.curves import Latencies
from cascadia_sglang.planner.problem.problem import CalibrationRow, Problem
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid

# Settings of a router that are looked at.
MAX_PLACES = 500
# Steps of a share of the router that knows nothing.
STEPS = 20


class RouterResult(msgspec.Struct, frozen=True, kw_only=True):
    """The best router at the floor.

    Attributes:
        knows: `predictions` of the sample, or `nothing`.
        thresholds: on the predictions; empty where it knows nothing.
        shares: of requests that each tier answers.
        latency_s: mean, with the best deployment.
        allocation: GPUs of every tier.
    """

    knows: Literal["predictions", "nothing"]
    thresholds: list[float]
    shares: list[float]
    quality: float
    latency_s: float
    allocation: list[int]


def best_router(problem: Problem, latencies: Latencies) -> RouterResult | None:
    """The router of least mean latency whose quality reaches the floor; None without any.

    Args:
        problem: checked, with a calibration sample.

    Raises:
        ConfigError: if some rows of the sample have predictions and some have none.
    """
    floor = problem.quality_floor or 0.0
    best: RouterResult | None = None
    for routed in settings(problem):
        if routed.quality < floor or (best is not None and routed.shares == best.shares):
            continue
        deployed = latencies.deploy(routed.shares)
        if deployed is not None and (best is None or deployed.latency_s < best.latency_s):
            best = msgspec.structs.replace(
                routed, latency_s=deployed.latency_s, allocation=list(deployed.allocation)
            )
    return best


def settings(problem: Problem) -> Iterator[RouterResult]:
    """Routers to choose from, without latency and deployment."""
    rows = problem.calibration
    predicted = sum(bool(row.entry) for row in rows)
    if predicted not in (0, len(rows)):
        raise ConfigError(f"{predicted} of {len(rows)} rows of calibration have entry: all or none")
    if predicted:
        yield from _by_predictions(rows)
    else:
        yield from _by_chance(rows)


def _by_predictions(rows: Sequence[CalibrationRow]) -> Iterator[RouterResult]:
    sample = build_sample([msgspec.structs.replace(row, scores=row.entry) for row in rows])
    tiers = sample.correct_NT.shape[1]
    points = max(3, min(64, int(MAX_PLACES ** (1 / max(1, tiers - 1)))))
    replay = Replay(sample, threshold_grid(sample, points))
    for position in itertools.product(*(range(len(grid)) for grid in replay.grids)):
        reached = [*replay.shares(position), 0.0]
        yield RouterResult(
            knows="predictions",
            thresholds=replay.thresholds(position),
            shares=[a - b for a, b in itertools.pairwise(reached)],
            quality=replay.quality(position),
            latency_s=0.0,
            allocation=[],
        )


def _by_chance(rows: Sequence[CalibrationRow]) -> Iterator[RouterResult]:
    sample = build_sample(rows)
    quality_T = np.array([sample.mean(correct_N) for correct_N in sample.correct_NT.T])
    tiers = len(quality_T)
    for cuts in itertools.combinations_with_replacement(range(STEPS + 1), tiers - 1):
        shares_T = np.diff([0, *cuts, STEPS]) / STEPS
        yield RouterResult(
            knows="nothing",
            thresholds=[],
            shares=shares_T.tolist(),
            quality=float(shares_T @ quality_T),
            latency_s=0.0,
            allocation=[],
        )
