"""From the shares of requests that reach each tier to a deployment, by simulated surfaces.

Replicas of a pool share its requests evenly, so n of them at rate r are one at r / n. Where several
tiers share a pool, a tier's latency is that at which its own requests alone would keep a replica as
busy as all of them together do; the simulation of the whole plan then mixes them. The same holds of
the tiers of a block, whose steps take turns on its devices.

Shape legend: n ways to run one pool, C of all pools, R resources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.planner.deployment.columns import Columns, combined, resources_of, switching_s
from cascadia_sglang.planner.deployment.incumbent import best_picks
from cascadia_sglang.planner.latency.curves import BestDeployment
from cascadia_sglang.planner.latency.surfaces import ParallelShape, Statistic, Surface
from cascadia_sglang.planner.problem.problem import (
    Candidate,
    Deployment,
    LatencyObjective,
    Problem,
)

# Of each pool, its shapes with a surface for each of the pool's tiers.
PoolSurfaces = Mapping[str, Sequence[tuple[ParallelShape, Sequence[Surface]]]]


# A deployment, its GPUs of each resource, and its value by the surfaces.
Way = tuple[Deployment, tuple[int, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """Ways to run a pool, by the GPUs they take.

    Attributes:
        tiers: indices of its tiers.
        shape_n: place among the pool's shapes.
        uses_nR: GPUs of each resource.
        switching_n: seconds that its new replicas are worth.
    """

    name: str
    tiers: list[int]
    shapes: Sequence[tuple[ParallelShape, Sequence[Surface]]]
    shape_n: IntArray
    replicas_n: IntArray
    uses_nR: IntArray
    switching_n: FloatArray


class ShapeLatencies:
    """Latencies of every deployment at any shares: the p95 of each tier for the objective
    `bottleneck`, the mean for `path`."""

    def __init__(self, problem: Problem, surfaces: PoolSurfaces, rate_per_s: float) -> None:
        self.problem = problem
        self._surfaces = surfaces
        self._rate_per_s = rate_per_s
        self._resources, capacity = resources_of(problem)
        self._capacity_R = np.array(capacity, np.int64)
        self._pools = [self._ways(name, surfaces[name]) for name in problem.pools]

    def deploy(self, shares: Sequence[float]) -> BestDeployment | None:
        """The best deployment, exactly and without the solver; None where nothing fits."""
        columns, ways = self.columns(shares)
        picks = best_picks(columns, 0)
        if picks is None:
            return None
        gpus = [
            self._gpus(pool, int(ways[pick])) for pool, pick in zip(self._pools, picks, strict=True)
        ]
        by_pool = dict(zip(self.problem.pools, gpus, strict=True))
        return BestDeployment(
            latency_s=columns.objective_s(picks),
            allocation=tuple(by_pool[tier.pool_name] for tier in self.problem.tiers),
        )

    def candidate(
        self, thresholds: Sequence[float], shares: Sequence[float], quality: float
    ) -> Candidate:
        """What thresholds with these consequences are, with every deployment that carries them.

        Of a shape that the budget holds too few of, the fewest that would do are listed too, so
        that a shortage can be told.
        """
        columns, deployments = self.deployments(shares)
        for index, pool in enumerate(self._pools):
            if not (columns.pool_C == index).any():
                deployments += self._beyond(pool, shares)
        return Candidate(
            thresholds=list(thresholds),
            quality=quality,
            shares=list(shares),
            deployments=deployments,
        )

    def table(self, tier: int, share: float) -> dict[int, float]:
        """Seconds by GPUs of a tier that this share of requests reaches, alone on its workers."""
        pool = self._pools[self.problem.pools.index(self.problem.tiers[tier].pool_name)]
        shares = [share if index == tier else 0.0 for index in range(len(self.problem.tiers))]
        seconds_n = self._latencies(pool, shares)[pool.tiers.index(tier)]
        kept_n = np.isfinite(seconds_n) & (pool.uses_nR <= self._capacity_R).all(axis=1)
        best_s: dict[int, float] = {}
        for way in np.flatnonzero(kept_n).tolist():
            gpus, seconds = self._gpus(pool, way), float(seconds_n[way])
            best_s[gpus] = min(seconds, best_s.get(gpus, math.inf))
        return best_s

    def with_budget(self, gpus: int) -> ShapeLatencies:
        """The same surfaces for fewer GPUs."""
        problem = msgspec.structs.replace(self.problem, gpu_budget=gpus)
        return ShapeLatencies(problem, self._surfaces, self._rate_per_s)

    def with_objective(self, objective: LatencyObjective) -> ShapeLatencies:
        """The same surfaces for another objective."""
        problem = msgspec.structs.replace(self.problem, objective=objective)
        return ShapeLatencies(problem, self._surfaces, self._rate_per_s)

    def deployments(self, shares: Sequence[float]) -> tuple[Columns, list[Deployment]]:
        """Columns of one candidate, and the deployment that each stands for."""
        columns, ways_C = self.columns(shares)
        seconds = [self._latencies(pool, shares) for pool in self._pools]
        made = []
        for index, way in zip(columns.pool_C.tolist(), ways_C.tolist(), strict=True):
            pool = self._pools[index]
            shape, _ = pool.shapes[pool.shape_n[way]]
            seconds_T = seconds[index][:, way].tolist()
            made.append(self._made(pool.name, shape, int(pool.replicas_n[way]), seconds_T))
        return columns, made

    def ways(self, shares: Sequence[float]) -> list[list[Way]]:
        """Of each pool every shape and number of replicas within the budget, also such as the
        surfaces take for overloaded: the deployment, its GPUs of each resource, and its value."""
        ways = []
        for pool in self._pools:
            latency_s_Tn = self._latencies(pool, shares)
            value_n = combined(
                self.problem.latency_objective, [shares[tier] for tier in pool.tiers], latency_s_Tn
            )
            within = np.flatnonzero((pool.uses_nR <= self._capacity_R).all(axis=1)).tolist()
            ways.append(
                [
                    (
                        self._made(
                            pool.name,
                            pool.shapes[pool.shape_n[way]][0],
                            int(pool.replicas_n[way]),
                            latency_s_Tn[:, way].tolist(),
                        ),
                        tuple(pool.uses_nR[way].tolist()),
                        float(value_n[way]),
                    )
                    for way in within
                ]
            )
        return ways

    def shapes_of(self, pool: str) -> list[ParallelShape]:
        """The shapes of a pool."""
        return [shape for shape, _ in self._surfaces[pool]]

    def load(self, pool: str, shape: ParallelShape, shares: Sequence[float]) -> float:
        """Replicas of a shape that the pool's requests would keep busy without a break."""
        own_pool = next(candidate for candidate in self._pools if candidate.name == pool)
        surfaces = next(
            shape_surfaces
            for own_shape, shape_surfaces in self._surfaces[pool]
            if own_shape is shape
        )
        return self._load(own_pool, surfaces, shares)

    def deployment(self, pool: str, shape: ParallelShape, replicas: int) -> Deployment:
        """So many replicas of a shape, whatever the budget; without latencies."""
        return self._made(pool, shape, replicas, [])

    @property
    def capacity(self) -> tuple[int, ...]:
        """GPUs there are of each resource."""
        return tuple(self._capacity_R.tolist())

    def gpu_load(self, shares: Sequence[float]) -> float:
        """GPUs that the requests keep busy without a break, each pool on its cheapest shape."""
        return sum(
            min(self._load(pool, surfaces, shares) * shape.gpus for shape, surfaces in pool.shapes)
            for pool in self._pools
        )

    def shape_of(self, deployment: Deployment) -> ParallelShape:
        """The shape of one of this problem's deployments."""
        pool = next(pool for pool in self._pools if pool.name == deployment.pool)
        target = (deployment.gpu, deployment.tp_size, deployment.pp_size)
        return next(shape for shape, _ in pool.shapes if (shape.gpu, shape.tp, shape.pp) == target)

    def columns(self, shares: Sequence[float]) -> tuple[Columns, IntArray]:
        """Columns of one candidate, and the way to run its pool that each stands for, [C]."""
        parts = []
        for index, pool in enumerate(self._pools):
            latency_s_Tn = self._latencies(pool, shares)
            value_n = combined(
                self.problem.latency_objective, [shares[tier] for tier in pool.tiers], latency_s_Tn
            )
            ways_n = np.flatnonzero(
                np.isfinite(value_n) & (pool.uses_nR <= self._capacity_R).all(axis=1)
            )
            parts.append((np.full(len(ways_n), index), ways_n, value_n[ways_n], pool))
        columns = Columns(
            objective=self.problem.latency_objective,
            pools=len(self._pools),
            candidate_C=np.zeros(sum(len(part[1]) for part in parts), np.int64),
            pool_C=np.concatenate([part[0] for part in parts]),
            value_C=np.concatenate([part[2] for part in parts]),
            switching_C=np.concatenate([part[3].switching_n[part[1]] for part in parts]),
            uses_CR=np.concatenate([part[3].uses_nR[part[1]] for part in parts]),
            capacity_R=self._capacity_R,
            resources=self._resources,
        )
        return columns, np.concatenate([part[1] for part in parts])

    def _ways(self, name: str, shapes: Sequence[tuple[ParallelShape, Sequence[Surface]]]) -> _Pool:
        ways = []
        for index, (shape, _) in enumerate(shapes):
            uses = [
                shape.gpus if resource in ("gpu_budget", shape.gpu) else 0
                for resource in self._resources
            ]
            most = min(
                there // used
                for used, there in zip(uses, self._capacity_R.tolist(), strict=True)
                if used
            )
            ways += [
                (shape.gpus * count, index, count, [used * count for used in uses])
                for count in range(1, max(1, most) + 1)
            ]
        ways.sort(key=lambda way: way[:3])
        return _Pool(
            name=name,
            tiers=self.problem.tiers_of(name),
            shapes=shapes,
            shape_n=np.array([way[1] for way in ways], np.int64),
            replicas_n=np.array([way[2] for way in ways], np.int64),
            uses_nR=np.array([way[3] for way in ways], np.int64),
            switching_n=np.array(
                [
                    switching_s(self.problem, self._made(name, shapes[index][0], count, []))
                    for _, index, count, _ in ways
                ]
            ),
        )

    def _latencies(self, pool: _Pool, shares: Sequence[float]) -> FloatArray:
        """Seconds of each of the pool's tiers, [T, n]; infinite where a way cannot carry it."""
        latency_s_Tn = np.empty((len(pool.tiers), len(pool.shape_n)))
        for index, (_, surfaces) in enumerate(pool.shapes):
            of_shape_n = pool.shape_n == index
            busy_n = self._load(pool, surfaces, shares) / pool.replicas_n[of_shape_n]
            for row, surface in enumerate(surfaces):
                latency_s_Tn[row, of_shape_n] = surface.latency_s(
                    busy_n * surface.saturation_per_s, self._statistic
                )
        return latency_s_Tn

    def _load(self, pool: _Pool, surfaces: Sequence[Surface], shares: Sequence[float]) -> float:
        """Replicas of a shape that the pool's requests would keep busy without a break."""
        return sum(
            shares[tier] * self._rate_per_s / surface.saturation_per_s
            for tier, surface in zip(pool.tiers, surfaces, strict=True)
        )

    def _beyond(self, pool: _Pool, shares: Sequence[float]) -> list[Deployment]:
        """Of every shape the fewest replicas that carry the load."""
        deployments = []
        for shape, surfaces in pool.shapes:
            count = math.floor(self._load(pool, surfaces, shares)) + 1
            seconds = [float(surface.latency_s(0.0, self._statistic)) for surface in surfaces]
            deployments.append(self._made(pool.name, shape, count, seconds))
        return deployments

    @property
    def _statistic(self) -> Statistic:
        return "p95" if self.problem.latency_objective == "bottleneck" else "mean"

    def _gpus(self, pool: _Pool, way: int) -> int:
        return int(pool.shapes[pool.shape_n[way]][0].gpus * pool.replicas_n[way])

    def _made(
        self, pool: str, shape: ParallelShape, count: int, seconds_T: Sequence[float]
    ) -> Deployment:
        names = [self.problem.tiers[tier].name for tier in self.problem.tiers_of(pool)]
        return Deployment(
            pool=pool,
            gpu=shape.gpu,
            tp_size=shape.tp,
            pp_size=shape.pp,
            replicas=count,
            latency_s=dict(zip(names, seconds_T, strict=False)),
        )
