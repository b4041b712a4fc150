"""Which plans are worth a simulation: the best on the surfaces at every number of GPUs, and
plans near them.

A number of GPUs is a *rung* where the best plan of single replicas gains enough over the rung
below. The rungs of a budget are those of every larger one too, so a larger budget never has worse
candidates.

Shape legend: B numbers of GPUs from 0, C columns, n columns of one pool.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.deployment.columns import Columns
from cascadia_sglang.planner.deployment.incumbent import BestByState, best_by_state, pools_of
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.problem.problem import Deployment, LatencyObjective
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.choice import PlanChoice, choice_of

# What the next rung gains on the surfaces at least, as a share.
RUNG_GAIN = 0.01
# Plans near the best one of a rung.
NEIGHBOURS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _PointColumns:
    """The columns of one point of thresholds, and the best plans for every number of GPUs."""

    point: ThresholdPoint
    columns: Columns
    deployments: list[Deployment]
    tables: BestByState

    def choice(self, picks: Sequence[int]) -> PlanChoice:
        return choice_of(self.columns, self.deployments, picks, self.point)


class Ladder:
    """The best plans on the surfaces by number of GPUs, for one objective.

    Args:
        points: of thresholds to choose from.

    Devices need to be of one type.
    """

    def __init__(self, latencies: ShapeLatencies, points: Sequence[ThresholdPoint]) -> None:
        self._points: list[_PointColumns] = []
        for point in points:
            columns, deployments = latencies.deployments(point.shares)
            if len(set(columns.pool_C.tolist())) < columns.pools:
                continue
            tables = best_by_state(pools_of(columns, 0), columns.capacity_R, columns.objective)
            if tables is not None:
                self._points.append(
                    _PointColumns(
                        point=point, columns=columns, deployments=deployments, tables=tables
                    )
                )
        values = [one.tables.value for one in self._points]
        self.value_s_B: FloatArray = np.min(values, axis=0) if values else np.full(1, np.inf)
        self._best_B = np.argmin(values, axis=0) if values else np.zeros(1, np.int64)

    def best(self, gpus: int) -> PlanChoice | None:
        """The best plan within so many GPUs; None where none fits."""
        gpus = min(gpus, len(self.value_s_B) - 1)
        if not np.isfinite(self.value_s_B[gpus]):
            return None
        own = self._points[int(self._best_B[gpus])]
        return own.choice(self._picks(own, gpus))

    def near(self, gpus: int, number: int = NEIGHBOURS) -> list[PlanChoice]:
        """The best plans within so many GPUs that differ from the best in two pools at most."""
        gpus = min(gpus, len(self.value_s_B) - 1)
        if not np.isfinite(self.value_s_B[gpus]):
            return []
        own = self._points[int(self._best_B[gpus])]
        picks = self._picks(own, gpus)
        return [own.choice(found) for found in neighbours(own.columns, picks, [gpus], number)]

    def _picks(self, own: _PointColumns, gpus: int) -> list[int]:
        # Of equals the one with fewest GPUs.
        value_B = own.tables.value[: gpus + 1]
        return own.tables.picks([int(np.flatnonzero(value_B <= value_B[-1])[0])])


def rungs(ladders: Sequence[Ladder], gain: float = RUNG_GAIN) -> list[int]:
    """Numbers of GPUs at which the best plan of some ladder gains so much over the rung below."""
    found: list[int] = []
    last_s = [np.inf] * len(ladders)
    for gpus in range(1, max(len(ladder.value_s_B) for ladder in ladders)):
        value_s = [float(ladder.value_s_B[gpus]) for ladder in ladders]
        pairs = list(zip(value_s, last_s, strict=True))
        if any(np.isfinite(now) and now <= (1.0 - gain) * before for now, before in pairs):
            found.append(gpus)
            last_s = value_s
    return found


def neighbours(
    columns: Columns, picks: Sequence[int], capacity: Sequence[int], number: int
) -> list[list[int]]:
    """The best plans that differ from one in one pool or two, by the columns' own values.

    Of equals, as the slowest tier makes many, those whose other tiers are faster come first.

    Args:
        columns: of one candidate.
        capacity: of each resource.
    """
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    groups = [np.flatnonzero(columns.pool_C == pool) for pool in range(columns.pools)]
    pairs = list(itertools.combinations(range(columns.pools), 2)) or [(0, 0)]
    most_R = np.asarray(capacity)
    for first, second in pairs:
        rest = [pick for pool, pick in enumerate(picks) if pool not in (first, second)]
        one_n, other_n = groups[first], groups[second]
        if first == second:
            other_n = np.array([picks[first]])
        index_M = np.stack(
            [side.ravel() for side in np.meshgrid(one_n, other_n, indexing="ij")], axis=1
        )
        used_MR = columns.uses_CR[rest].sum(axis=0) + columns.uses_CR[index_M[:, 0]]
        if first != second:
            used_MR = used_MR + columns.uses_CR[index_M[:, 1]]
        index_M = index_M[(used_MR <= most_R).all(axis=1)]
        chosen = index_M if first != second else index_M[:, :1]
        value_M = columns.value_C[chosen]
        rest_s = columns.value_C[rest]
        sum_M = value_M.sum(axis=1) + rest_s.sum()
        worth_M = sum_M
        if columns.objective == "bottleneck":
            worth_M = np.maximum(value_M.max(axis=1), rest_s.max(initial=0.0))
        worth_M = (
            worth_M + columns.switching_C[chosen].sum(axis=1) + columns.switching_C[rest].sum()
        )
        for place in np.lexsort((sum_M, worth_M))[: number + 1].tolist():
            changed = list(picks)
            changed[first] = int(index_M[place, 0])
            if first != second:
                changed[second] = int(index_M[place, 1])
            found[tuple(changed)] = (float(worth_M[place]), float(sum_M[place]))
    found.pop(tuple(picks), None)
    return [list(one) for one in sorted(found, key=lambda one: (found[one], one))[:number]]


def candidates(
    ladders: Sequence[Ladder], objective_ladder: Ladder, gpus: Sequence[int]
) -> list[PlanChoice]:
    """The plans of these rungs, each once, best on the surfaces first.

    Args:
        objective_ladder: whose neighbours count.
    """
    found: dict[object, PlanChoice] = {}
    for rung in gpus:
        for ladder in ladders:
            best = ladder.best(rung)
            if best is not None:
                found.setdefault(best.key, best)
        for near in objective_ladder.near(rung):
            found.setdefault(near.key, near)
    return list(found.values())


def of_objective(
    latencies: ShapeLatencies, points: Sequence[ThresholdPoint], objective: LatencyObjective
) -> Ladder:
    """The ladder of an objective."""
    return Ladder(latencies.with_objective(objective), points)
