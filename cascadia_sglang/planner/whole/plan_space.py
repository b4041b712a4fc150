"""All plans of some thresholds that may meet the latency targets, by their cost.

Shape legend: R requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.problem.problem import Deployment
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.capacity import lanes_needed, pool_work_s, windows
from cascadia_sglang.planner.whole.choice import PlanChoice
from cascadia_sglang.planner.whole.levels import SAME_COST
from cascadia_sglang.planner.whole.runs import ChoiceRuns

# Where a pool is looked at alone, the others have so many times the replicas that their load keeps
# busy, and so many more. If it misses the targets by more than the margin even so, its plans are
# left out: a replica more hardly ever makes so many requests late.
_TIMES_LOAD, _MORE, _MARGIN = 4, 4, 0.02
# Fewer plans than these are simulated without looking at pools alone before.
_FEW_PLANS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A way to run one pool."""

    deployment: Deployment
    uses: tuple[int, ...]
    value_s: float
    cost: float

    @property
    def shape_key(self) -> tuple[str, int, int]:
        return self.deployment.gpu, self.deployment.tp_size, self.deployment.pp_size


class PlanSpace:
    """All plans of one point of thresholds that may meet the targets, by their cost."""

    def __init__(
        self, runs: ChoiceRuns, latencies: ShapeLatencies, point: ThresholdPoint, most: float
    ) -> None:
        self._runs = runs
        self._latencies = latencies
        self._point = point
        self._capacity = latencies.capacity
        self._may: dict[tuple[tuple[str, int, int], ...], bool] = {}
        self.left_out = 0
        self._most = most
        self._ways = [self._priced(ways) for ways in latencies.ways(point.shares)]
        self._keep(self._by_work())
        if math.prod(len(ways) for ways in self._ways) > _FEW_PLANS:
            # The last pool costs most, so that what it needs leaves the others least.
            for pool in reversed(runs.problem.pools):
                self._keep(self._by_runs(pool))

    def _priced(self, ways: Sequence[tuple[Deployment, tuple[int, ...], float]]) -> list[_Way]:
        """Ways to run a pool, cheapest first."""
        prices = self._runs.problem.price_per_gpu_hour
        priced = [
            _Way(
                deployment=deployment,
                uses=uses,
                value_s=value_s,
                cost=prices.get(deployment.gpu, 1.0) * deployment.gpus,
            )
            for deployment, uses, value_s in ways
        ]
        return sorted(priced, key=lambda way: way.cost)

    def _keep(self, needed: Mapping[tuple[str, str, int, int], int]) -> None:
        """Leave out ways with fewer replicas than their shape needs, and those that cost too much
        beside the cheapest of the other pools.

        Args:
            needed: replicas by pool and shape; of others every number may do.
        """
        for pool, ways in enumerate(self._ways):
            kept_ways = [
                way
                for way in ways
                if way.deployment.replicas >= needed.get((way.deployment.pool, *way.shape_key), 1)
            ]
            self.left_out += len(ways) - len(kept_ways)
            self._ways[pool] = kept_ways
        least = [min((way.cost for way in ways), default=math.inf) for ways in self._ways]
        for pool, ways in enumerate(self._ways):
            others = sum(least[:pool]) + sum(least[pool + 1 :])
            self._ways[pool] = [way for way in ways if way.cost + others < self._most]

    def levels(self) -> list[float]:
        """The costs that plans have, rising."""
        sums = {0.0}
        for ways in self._ways:
            costs = {way.cost for way in ways}
            sums = {round(total + cost, 6) for total in sums for cost in costs}
        return sorted(sums)

    def choices(self, level: float) -> Iterator[PlanChoice]:
        """The plans of a cost that fit the GPUs and may meet the targets."""
        for ways in self._of_cost(level, 0):
            used = [sum(amounts) for amounts in zip(*(way.uses for way in ways), strict=True)]
            if any(use > there for use, there in zip(used, self._capacity, strict=True)):
                continue
            if self._may_attain(ways):
                deployments = tuple(way.deployment for way in ways)
                yield PlanChoice(
                    point=self._point,
                    deployments=deployments,
                    surface_s=sum(way.value_s for way in ways),
                )
            else:
                self.left_out += 1

    def _of_cost(self, level: float, pool: int) -> Iterator[tuple[_Way, ...]]:
        if pool == len(self._ways):
            if abs(level) < SAME_COST:
                yield ()
            return
        rest = sum(ways[0].cost for ways in self._ways[pool + 1 :])
        for way in self._ways[pool]:
            if way.cost + rest > level + SAME_COST:
                return
            for others in self._of_cost(level - way.cost, pool + 1):
                yield (way, *others)

    def _may_attain(self, ways: Sequence[_Way]) -> bool:
        """Whether so many requests could be in time if each were alone."""
        key = tuple(way.shape_key for way in ways)
        if key not in self._may:
            by_pool = {
                way.deployment.pool: self._latencies.shape_of(way.deployment) for way in ways
            }
            shapes = [
                by_pool[tier.pool_name].of_tier(tier.name) for tier in self._runs.problem.tiers
            ]
            request_s_R = self._runs.least.request_s(self._point.shares, shapes)
            is_late_R: BoolArray = request_s_R * (1.0 - 1e-9) > self._runs.late_s
            self._may[key] = 1.0 - float(is_late_R.mean()) >= self._runs.problem.slo.attainment
        return self._may[key]

    def _by_work(self) -> dict[tuple[str, str, int, int], int]:
        """Of each pool and shape the fewest replicas that hold the work in time."""
        needed = {}
        for pool in self._runs.problem.pools:
            for shape in self._latencies.shapes_of(pool):
                lanes = self._lanes_needed(pool, shape) if np.isfinite(self._runs.late_s) else 1
                needed[pool, shape.gpu, shape.tp, shape.pp] = -(-lanes // shape.pp)
        return needed

    def _by_runs(self, pool: str) -> dict[tuple[str, str, int, int], int]:
        """Of each shape of a pool the same, by simulations beside pools without limits."""
        shape_keys = {way.shape_key for way in self._ways[self._runs.problem.pools.index(pool)]}
        shapes = [
            shape
            for shape in self._latencies.shapes_of(pool)
            if (shape.gpu, shape.tp, shape.pp) in shape_keys
        ]
        self._runs.runner.progress.begin("fewest replicas of each shape", len(shapes))
        replicas = self._runs.runner.run(lambda shape: self._needed(pool, shape), shapes)
        return {
            # Where the time was over, every number may do.
            (pool, shape.gpu, shape.tp, shape.pp): 1 if number is None else number
            for shape, number in zip(shapes, replicas, strict=True)
        }

    def _needed(self, pool: str, shape: ParallelShape) -> int:
        """The fewest replicas, of those that are left, that may do.

        They are looked for in steps that double, then by halves between the last that misses the
        targets and the first that may meet them.
        """
        pool_index = self._runs.problem.pools.index(pool)
        key = (shape.gpu, shape.tp, shape.pp)
        counts = [way.deployment.replicas for way in self._ways[pool_index] if way.shape_key == key]
        missing, enough, step = -1, len(counts), 1
        while enough - missing > 1 and not self._runs.runner.progress.is_over:
            is_bounded = enough < len(counts)
            index = (missing + enough) // 2 if is_bounded else min(missing + step, enough - 1)
            if self._may_do(pool, shape, counts[index]):
                enough = index
            else:
                missing, step = index, 2 * step
        fewest = missing + 1
        return counts[fewest] if fewest < len(counts) else max(counts, default=0) + 1

    def _may_do(self, pool: str, shape: ParallelShape, replicas: int) -> bool:
        """Whether so many replicas may do where the other pools have no limits."""
        deployments = []
        for other in self._runs.problem.pools:
            if other == pool:
                deployments.append(self._latencies.deployment(pool, shape, replicas))
            else:
                fastest = self._fastest(other)
                load = self._latencies.load(other, fastest, self._point.shares)
                many = _TIMES_LOAD * math.ceil(load) + _MORE
                deployments.append(self._latencies.deployment(other, fastest, many))
        choice = PlanChoice(point=self._point, deployments=tuple(deployments), surface_s=0.0)
        return self._runs.attaining_run(choice, _MARGIN) is not None

    def _fastest(self, pool: str) -> ParallelShape:
        """The shape of a pool on which requests alone take least time."""
        tiers = self._runs.problem.tiers_of(pool)

        def alone_s(shape: ParallelShape) -> float:
            return sum(
                float(
                    self._runs.least.attempt_s(
                        tier, shape.of_tier(self._runs.problem.tiers[tier].name)
                    ).mean()
                )
                for tier in tiers
            )

        return min(self._latencies.shapes_of(pool), key=alone_s)

    def _lanes_needed(self, pool: str, shape: ParallelShape) -> int:
        runs = self._runs
        tiers = runs.problem.tiers_of(pool)
        shapes = [shape.of_tier(runs.problem.tiers[tier].name) for tier in tiers]
        work_s_R, visits_R = pool_work_s(runs.least, tiers, shapes, self._point.shares)
        return lanes_needed(
            work_s_R,
            visits_R,
            windows(runs.workload, runs.late_s),
            runs.workload,
            runs.late_s,
            runs.problem.slo.attainment,
        )
