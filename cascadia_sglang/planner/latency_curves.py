"""From the shares of requests that reach each tier to a deployment and its latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.planner.columns import build_columns
from cascadia_sglang.planner.incumbent import best_picks
from cascadia_sglang.planner.problem import Candidate, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The best deployment for some shares: the objective in seconds, and GPUs of every tier."""

    latency_s: float
    allocation: tuple[int, ...]


# What the search of thresholds asks of latency. It is told the share of requests that reaches each
# tier, and its answer must not get better where a share grows; None where nothing fits.
Deploy = Callable[[Sequence[float]], Deployed | None]


def tables_at(problem: Problem, shares: Sequence[float]) -> list[dict[int, float]]:
    """Latency of every tier by GPUs under these shares, as a candidate holds it.

    Linear between the pairs of a curve, level below the first; counts of GPUs whose curve ends
    before the share cannot serve it and are left out.
    """
    tables = []
    for share, curves in zip(shares, problem.latency_by_share_s, strict=True):
        table = {}
        for gpus, pairs in curves.items():
            if share <= pairs[-1][0]:
                at, latency_s = zip(*pairs, strict=True)
                table[gpus] = float(np.interp(share, at, latency_s))
        tables.append(table)
    return tables


def candidate_at(
    problem: Problem, thresholds: Sequence[float], shares: Sequence[float], quality: float
) -> Candidate:
    """The candidate that thresholds with these consequences are."""
    return Candidate(
        thresholds=list(thresholds),
        quality=quality,
        shares=list(shares),
        latency_s=tables_at(problem, shares),
    )


def deploy_by_curves(problem: Problem) -> Deploy:
    """A `Deploy` that reads the problem's curves; exact, without the solver."""

    def deploy(shares: Sequence[float]) -> Deployed | None:
        candidate = candidate_at(problem, [], shares, 1.0)
        single = msgspec.structs.replace(problem, candidates=[candidate])
        columns, choices = build_columns(single, [0])
        picks = best_picks(columns, 0)
        if picks is None:
            return None
        by_pool = dict(zip(problem.pools, (choices[pick].gpus for pick in picks), strict=True))
        return Deployed(
            latency_s=columns.objective_s(picks),
            allocation=tuple(by_pool[tier.pool_name] for tier in problem.tiers),
        )

    return deploy
