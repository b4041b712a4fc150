"""Searches that the routing bench sets beside the planner's own: the paper's alternation, and one
threshold for all tiers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.planner.latency.curves import BestDeployment, Curves, Deploy
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.thresholds.grid import GridPoints, Value
from cascadia_sglang.planner.thresholds.penalty import PATIENCE, coordinate_search
from cascadia_sglang.planner.thresholds.replay import Position, Replay, Sample

# Rounds after which an alternation that still moves is stopped.
MAX_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternationEnd:
    """Where an alternation ended: its best value, and the rounds it took."""

    value: float
    rounds: int


def held(problem: Problem, allocation: Sequence[int]) -> Deploy:
    """Latency of an allocation that does not change with the shares."""

    curves = Curves(problem)

    def deploy(shares: Sequence[float]) -> BestDeployment | None:
        tables = curves.tables(shares)
        if any(gpus not in table for gpus, table in zip(allocation, tables, strict=True)):
            return None
        latencies_s = [table[gpus] for gpus, table in zip(allocation, tables, strict=True)]
        if problem.objective == "bottleneck":
            return BestDeployment(latency_s=max(latencies_s), allocation=tuple(allocation))
        mean_s = sum(share * s for share, s in zip(shares, latencies_s, strict=True))
        return BestDeployment(latency_s=mean_s, allocation=tuple(allocation))

    return deploy


def alternate(
    problem: Problem, points: GridPoints, deploy: Deploy, value: Value, start: Position
) -> AlternationEnd:
    """The paper's Algorithm 1: deployment for the thresholds, thresholds for the deployment.

    A round solves the deployment for the thresholds at hand and then searches thresholds with that
    deployment held. It ends when the value, with the deployment solved anew, has not changed for
    `PATIENCE` rounds; the best round counts.
    """
    position, last, best = start, math.nan, math.inf
    rounds = same = 0
    while same < PATIENCE and rounds < MAX_ROUNDS:
        deployed = deploy(points.replay.shares(position))
        if deployed is None:
            break
        rounds += 1
        frozen = GridPoints(points.replay, held(problem, deployed.allocation))
        position = coordinate_search(frozen, value, position).point.position
        point = points.at(position)
        now = value(point.latency_s, point.quality)
        same = same + 1 if now == last else 0
        last, best = now, min(best, now)
    return AlternationEnd(value=best, rounds=rounds)


def best_shared(sample: Sample, deploy: Deploy, floor: float, quantiles: int) -> float:
    """Least latency at the floor with one threshold for all tiers; inf where none reaches it.

    Every quantile of every tier's scores is tried for all of them, so this grid is the richer one.
    """
    levels = np.linspace(0, 1, quantiles)
    tried = np.unique(
        np.concatenate(([0.0], np.quantile(sample.scores_NS, levels, axis=0).ravel(), [1.0]))
    )
    points = GridPoints(Replay(sample, [tried] * sample.scores_NS.shape[1]), deploy)
    best_s = math.inf
    for index in range(len(tried)):
        position = (index,) * sample.scores_NS.shape[1]
        if points.replay.quality(position) >= floor:
            best_s = min(best_s, points.latency_s(position))
    return best_s
