"""Which plans are worth a simulation: the best on the surfaces at every cost, and plans near them.

A *level* is a cost that GPUs may have: their number, or their price for an hour where there are
prices. With one type of GPU it counts GPUs. A level is a *rung* where the best plan of single
replicas gains enough over the rung below. With one type the rungs of a budget are those of every
larger one too, so a larger budget never has worse candidates.

Shape legend: B levels from 0, S numbers of GPUs of every type, C columns, L limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.planner.deployment.columns import Columns
from cascadia_sglang.planner.deployment.incumbent import BestByState, best_by_state, pools_of
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.problem.problem import Deployment, LatencyObjective
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.choice import PlanChoice, choice_of
from cascadia_sglang.planner.whole.levels import SAME_COST, Levels, levels_of
from cascadia_sglang.planner.whole.neighbours import neighbours

# What the next rung gains on the surfaces at least, as a share.
RUNG_GAIN = 0.01
# Plans near the best one of a rung.
NEIGHBOURS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _PointColumns:
    """The columns of one point of thresholds, and the best plans for all numbers of GPUs.

    Attributes:
        best_S: the best of a level's plans and of those before it, as a place in the tables.
    """

    point: ThresholdPoint
    columns: Columns
    deployments: list[Deployment]
    tables: BestByState
    best_S: IntArray

    def choice(self, picks: Sequence[int]) -> PlanChoice:
        return choice_of(self.columns, self.deployments, picks, self.point)

    def values_s(self, places: IntArray) -> FloatArray:
        """Of the best plans up to places of `best_S`."""
        values_s: FloatArray = self.tables.value.ravel()[self.best_S[places]]
        return values_s

    def picks(self, index: int) -> list[int]:
        """Columns of that plan; of equals the cheapest."""
        state = np.unravel_index(int(self.best_S[index]), self.tables.value.shape)
        return self.tables.picks([int(gpus) for gpus in state])


class Ladder:
    """The best plans on the surfaces by level, for one objective.

    Args:
        points: of thresholds to choose from.
    """

    def __init__(self, latencies: ShapeLatencies, points: Sequence[ThresholdPoint]) -> None:
        self._budget = latencies.problem.gpu_budget
        self._levels: Levels | None = None
        self._points: list[_PointColumns] = []
        for point in points:
            columns, deployments = latencies.deployments(point.shares)
            if len(set(columns.pool_C.tolist())) < columns.pools:
                continue
            columns = _by_type(columns)
            tables = best_by_state(pools_of(columns, 0), columns.capacity_R, columns.objective)
            if tables is None:
                continue
            if self._levels is None:
                self._levels = levels_of(latencies.problem, columns.capacity_R)
            self._points.append(
                _PointColumns(
                    point=point,
                    columns=columns,
                    deployments=deployments,
                    tables=tables,
                    best_S=self._levels.best_so_far(tables.value.ravel()),
                )
            )
        self.value_s_B: FloatArray = np.full(1, np.inf)
        self._best_B: IntArray = np.zeros(1, np.int64)
        if self._levels is not None:
            values = [columns.values_s(self._levels.last_B) for columns in self._points]
            self.value_s_B = np.min(values, axis=0)
            self._best_B = np.argmin(values, axis=0)

    @property
    def has_plan(self) -> bool:
        """Whether the budget gives any plan; none is known where tables would take too long."""
        return bool(np.isfinite(self.value_s_B[-1]))

    @property
    def last(self) -> int:
        """The level of all GPUs."""
        return len(self.value_s_B) - 1

    def level_of(self, cost: float) -> int:
        """The last level that costs no more."""
        return 0 if self._levels is None else self._levels.level_of(cost)

    def best(self, level: int) -> PlanChoice | None:
        """The best plan within a level; None where none fits."""
        level = min(level, self.last)
        if self._levels is None or not np.isfinite(self.value_s_B[level]):
            return None
        best = self._points[int(self._best_B[level])]
        return best.choice(best.picks(int(self._levels.last_B[level])))

    def near(self, level: int, number: int = NEIGHBOURS) -> list[PlanChoice]:
        """The best plans within a level that differ from the best in two pools at most."""
        level = min(level, self.last)
        if self._levels is None or not np.isfinite(self.value_s_B[level]):
            return []
        best = self._points[int(self._best_B[level])]
        picks = best.picks(int(self._levels.last_B[level]))
        uses_CR = best.columns.uses_CR
        cost_C = uses_CR @ self._levels.price_R
        uses_CL = np.column_stack((uses_CR, uses_CR.sum(axis=1), cost_C))
        cost = float(self._levels.cost_B[level]) + SAME_COST
        most_L = [*best.columns.capacity_R.tolist(), self._budget, cost]
        near = neighbours(best.columns, picks, uses_CL, most_L, number)
        return [best.choice(neighbour) for neighbour in near]


def _by_type(columns: Columns) -> Columns:
    """The same without the budget over all types, which the levels keep."""
    if len(columns.resources) == 1 or columns.resources[0] != "gpu_budget":
        return columns
    return replace(
        columns,
        uses_CR=columns.uses_CR[:, 1:],
        capacity_R=columns.capacity_R[1:],
        resources=columns.resources[1:],
    )


def rungs(ladders: Sequence[Ladder], gain: float = RUNG_GAIN) -> list[int]:
    """Levels at which the best plan of some ladder gains so much over the rung below."""
    levels: list[int] = []
    last_s = [np.inf] * len(ladders)
    for level in range(1, max(len(ladder.value_s_B) for ladder in ladders)):
        value_s = [float(ladder.value_s_B[level]) for ladder in ladders]
        pairs = list(zip(value_s, last_s, strict=True))
        if any(np.isfinite(now) and now <= (1.0 - gain) * before for now, before in pairs):
            levels.append(level)
            last_s = value_s
    return levels


def candidates(
    ladders: Sequence[Ladder],
    objective_ladder: Ladder,
    levels: Sequence[int],
    is_over: Callable[[], bool] = lambda: False,
) -> list[PlanChoice]:
    """The plans of these rungs, each once, rung by rung.

    Args:
        objective_ladder: whose neighbours count.
        is_over: whether there is no time left for neighbours.
    """
    by_key: dict[object, PlanChoice] = {}
    for rung in levels:
        for ladder in ladders:
            best = ladder.best(rung)
            if best is not None:
                by_key.setdefault(best.key, best)
        for near in [] if is_over() else objective_ladder.near(rung):
            by_key.setdefault(near.key, near)
    return list(by_key.values())


def of_objective(
    latencies: ShapeLatencies, points: Sequence[ThresholdPoint], objective: LatencyObjective
) -> Ladder:
    """The ladder of an objective."""
    return Ladder(latencies.with_objective(objective), points)
