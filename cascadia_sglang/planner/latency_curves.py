"""From the shares of requests that reach each tier to a deployment and its latency.

Shape legend: P pairs of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from cascadia_sglang.planner.columns import build_columns
from cascadia_sglang.planner.incumbent import best_picks
from cascadia_sglang.planner.problem import Candidate, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class BestDeployment:
    """The best deployment for some shares: the objective in seconds, and GPUs of every tier."""

    latency_s: float
    allocation: tuple[int, ...]


# What the search of thresholds asks of latency. It is told the share of requests that reaches each
# tier, and its answer must not get better where a share grows; None where nothing fits.
Deploy = Callable[[Sequence[float]], BestDeployment | None]


class Latencies(Protocol):
    """What is known of latency: by curves of a problem file, or by simulated surfaces."""

    def deploy(self, shares: Sequence[float]) -> BestDeployment | None:
        """The best deployment for these shares, exactly; see `Deploy`."""

    def candidate(
        self, thresholds: Sequence[float], shares: Sequence[float], quality: float
    ) -> Candidate:
        """The candidate that thresholds with these consequences are."""

    def table(self, tier: int, share: float) -> dict[int, float]:
        """Seconds by GPUs of a tier that this share of requests reaches, alone on its workers."""

    def with_budget(self, gpus: int) -> Latencies:
        """The same for fewer GPUs."""


class Curves:
    """A problem's curves of latency against the share of requests that reaches a tier."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._tiers = [
            [(gpus, *np.array(pairs, dtype=np.float64).T) for gpus, pairs in curves.items()]
            for curves in problem.latency_by_share_s
        ]
        self._tables: dict[tuple[int, float], dict[int, float]] = {}

    def tables(self, shares: Sequence[float]) -> list[dict[int, float]]:
        """Latency of every tier by GPUs under these shares, as a candidate holds it.

        Linear between the pairs of a curve, level below the first; counts of GPUs whose curve ends
        before the share cannot serve it and are left out.
        """
        return [self.table(tier, share) for tier, share in enumerate(shares)]

    def with_budget(self, gpus: int) -> Curves:
        """The same curves for fewer GPUs."""
        return Curves(msgspec.structs.replace(self._problem, gpu_budget=gpus))

    def table(self, tier: int, share: float) -> dict[int, float]:
        """Seconds by GPUs of a tier that this share of requests reaches."""
        if (tier, share) not in self._tables:
            self._tables[tier, share] = {
                gpus: float(np.interp(share, shares_P, latency_P))
                for gpus, shares_P, latency_P in self._tiers[tier]
                if share <= shares_P[-1]
            }
        return self._tables[tier, share]

    def candidate(
        self, thresholds: Sequence[float], shares: Sequence[float], quality: float
    ) -> Candidate:
        """The candidate that thresholds with these consequences are."""
        return Candidate(
            thresholds=list(thresholds),
            quality=quality,
            shares=list(shares),
            latency_s=self.tables(shares),
        )

    def deploy(self, shares: Sequence[float]) -> BestDeployment | None:
        """The best deployment, exactly and without the solver; None where nothing fits."""
        problem = self._problem
        candidate = self.candidate([], shares, 1.0)
        single = msgspec.structs.replace(problem, candidates=[candidate])
        columns, choices = build_columns(single, [0])
        picks = best_picks(columns, 0)
        if picks is None:
            return None
        by_pool = dict(zip(problem.pools, (choices[pick].gpus for pick in picks), strict=True))
        return BestDeployment(
            latency_s=columns.objective_s(picks),
            allocation=tuple(by_pool[tier.pool_name] for tier in problem.tiers),
        )
