"""The best deployment of one candidate without a solver: exact bisection, dynamic programme.

Shape legend: n columns of a pool, R resources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.planner.deployment.columns import Columns
from cascadia_sglang.planner.problem.problem import LatencyObjective

# States times columns that the dynamic programme may touch: about a second.
MAX_WORK = 100_000_000
# A column costs as much time as so many states, however few there are.
LEAST_STATES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolColumns:
    """Columns of one pool under one candidate, by the GPUs they take.

    Attributes:
        index_n: of each in the whole list of columns.
        value_n: seconds, as the objective combines them.
        uses_nR: GPUs of each resource.
    """

    index_n: IntArray
    value_n: FloatArray
    uses_nR: IntArray

    def undominated(self) -> PoolColumns:
        """Without those that another column beats with no more GPUs; for one resource."""
        best_n = np.minimum.accumulate(np.concatenate(([np.inf], self.value_n)))[:-1]
        kept_n = self.value_n < best_n
        return PoolColumns(
            index_n=self.index_n[kept_n], value_n=self.value_n[kept_n], uses_nR=self.uses_nR[kept_n]
        )


def pools_of(columns: Columns, candidate: int) -> list[PoolColumns]:
    """The columns of one candidate, a pool each; switching counts where values add up."""
    value_C = columns.value_C
    if columns.objective == "path":
        value_C = value_C + columns.switching_C
    groups_C = columns.groups()
    pool_columns_n = []
    for pool in range(columns.pools):
        group = candidate * columns.pools + pool
        low, high = np.searchsorted(groups_C, (group, group + 1))
        pool_columns = PoolColumns(
            index_n=np.arange(low, high),
            value_n=value_C[low:high],
            uses_nR=columns.uses_CR[low:high],
        )
        pool_columns_n.append(
            pool_columns.undominated() if columns.uses_CR.shape[1] == 1 else pool_columns
        )
    return pool_columns_n


def best_picks(columns: Columns, candidate: int) -> list[int] | None:
    """The columns of the candidate's best deployment, with fewest GPUs among equals.

    None where none fits, or where finding it would take too long; `is_exact` says which.
    """
    pools = pools_of(columns, candidate)
    if any(len(pool.index_n) == 0 for pool in pools):
        return None
    if _is_mixed(columns):
        picks = _limit_by_limit(columns, candidate)
        if picks is not None:
            return picks
    if columns.objective == "bottleneck" and len(columns.capacity_R) == 1:
        return _bisect(pools, int(columns.capacity_R[0]))
    return _dynamic_programme(pools, columns.capacity_R, columns.objective)


def is_exact(columns: Columns) -> bool:
    """Whether `best_picks` proves what it finds for all candidates of these columns."""
    if _is_mixed(columns):
        limits = len(np.unique(columns.value_C))
        return _work_of_limits(columns.capacity_R, len(columns.value_C), limits) <= MAX_WORK
    if columns.objective == "bottleneck" and len(columns.capacity_R) == 1:
        return True
    return _work(columns.capacity_R, len(columns.value_C)) <= MAX_WORK


def _work(capacity_R: IntArray, columns: int) -> int:
    states: int = math.prod((capacity_R + 1).tolist())
    return states * columns


def _is_mixed(columns: Columns) -> bool:
    """Whether the objective is a largest value and a sum: the slowest tier and the switching."""
    return columns.objective == "bottleneck" and bool(columns.switching_C.any())


def _work_of_limits(capacity_R: IntArray, columns: int, limits: int) -> int:
    return max(_work(capacity_R, 1), LEAST_STATES) * columns * limits


def _limit_by_limit(columns: Columns, candidate: int) -> list[int] | None:
    """For every limit on the values, the least switching within it; the best of all limits.

    None where nothing fits, or where it would take too long.
    """
    groups_C = columns.groups()
    first = candidate * columns.pools
    own_C = (groups_C >= first) & (groups_C < first + columns.pools)
    limits = np.unique(columns.value_C[own_C])
    if _work_of_limits(columns.capacity_R, int(own_C.sum()), len(limits)) > MAX_WORK:
        return None
    best, best_s = None, math.inf
    for limit in limits:
        if limit >= best_s:
            break
        pools = []
        for pool in range(columns.pools):
            index_n = np.flatnonzero((groups_C == first + pool) & (columns.value_C <= limit))
            pools.append(
                PoolColumns(
                    index_n=index_n,
                    value_n=columns.switching_C[index_n],
                    uses_nR=columns.uses_CR[index_n],
                )
            )
        picks = _dynamic_programme(pools, columns.capacity_R, "path")
        if picks is not None and columns.objective_s(picks) < best_s:
            best, best_s = picks, columns.objective_s(picks)
    return best


def _bisect(pools: Sequence[PoolColumns], capacity: int) -> list[int] | None:
    """Smallest limit on the values under which every pool's cheapest columns fit together."""
    limits = np.unique(np.concatenate([pool.value_n for pool in pools]))

    def cheapest(limit: float) -> list[int] | None:
        # Values fall as GPUs rise, so the first within the limit takes the fewest.
        firsts = [int(np.searchsorted(-pool.value_n, -limit)) for pool in pools]
        if any(first == len(pool.value_n) for first, pool in zip(firsts, pools, strict=True)):
            return None
        taken = sum(int(pool.uses_nR[first, 0]) for first, pool in zip(firsts, pools, strict=True))
        return firsts if taken <= capacity else None

    low, high = 0, len(limits)
    while low < high:
        middle = (low + high) // 2
        if cheapest(float(limits[middle])) is None:
            low = middle + 1
        else:
            high = middle
    firsts = cheapest(float(limits[low])) if low < len(limits) else None
    if firsts is None:
        return None
    return [int(pool.index_n[first]) for first, pool in zip(firsts, pools, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestByState:
    """The best plan for every amount of every resource.

    Attributes:
        value: [amounts of each resource]: seconds of the best plan within them; inf for none.
        chosen: of each pool, the column that this plan takes, by the same amounts; -1 for none.
    """

    pools: Sequence[PoolColumns]
    value: FloatArray
    chosen: Sequence[IntArray]

    def picks(self, state: Sequence[int]) -> list[int]:
        """The columns of the best plan within these amounts, one a pool."""
        amounts = tuple(state)
        picks = []
        for pool, choice in zip(reversed(self.pools), reversed(self.chosen), strict=True):
            column = int(choice[amounts])
            picks.append(int(pool.index_n[column]))
            amounts = tuple(
                amount - int(used)
                for amount, used in zip(amounts, pool.uses_nR[column], strict=True)
            )
        return picks[::-1]


def best_by_state(
    pools: Sequence[PoolColumns], capacity_R: IntArray, objective: LatencyObjective
) -> BestByState | None:
    """Fill the tables of the dynamic programme, pool by pool; None where it would take too long."""
    if _work(capacity_R, sum(len(pool.index_n) for pool in pools)) > MAX_WORK:
        return None
    shape = tuple((capacity_R + 1).tolist())
    add_pool = _add_pool_of_one_resource if len(shape) == 1 else _add_pool
    best = np.zeros(shape)
    chosen = []
    for pool in pools:
        best, choice = add_pool(pool, best, objective)
        chosen.append(choice)
    return BestByState(pools=pools, value=best, chosen=chosen)


def _add_pool(
    pool: PoolColumns, best: FloatArray, objective: LatencyObjective
) -> tuple[FloatArray, IntArray]:
    combine = np.maximum if objective == "bottleneck" else np.add
    after = np.full(best.shape, np.inf)
    choice = np.full(best.shape, -1, dtype=np.int64)
    for column, (value, uses_R) in enumerate(zip(pool.value_n, pool.uses_nR, strict=True)):
        there = tuple(slice(int(used), None) for used in uses_R)
        before = tuple(
            slice(0, size - int(used)) for size, used in zip(best.shape, uses_R, strict=True)
        )
        offered = combine(best[before], value)
        better = offered < after[there]
        after[there][better] = offered[better]
        choice[there][better] = column
    return after, choice


def _add_pool_of_one_resource(
    pool: PoolColumns, best: FloatArray, objective: LatencyObjective
) -> tuple[FloatArray, IntArray]:
    """The same for all columns at once: their number is at most that of the amounts."""
    if not len(pool.index_n):
        return np.full(best.shape, np.inf), np.full(best.shape, -1, dtype=np.int64)
    combine = np.maximum if objective == "bottleneck" else np.add
    size = len(best)
    # What cannot be taken leads to the infinite part before the first amount.
    before = np.concatenate((np.full(size, np.inf), best))
    place_nB = size + np.arange(size)[None, :] - np.minimum(pool.uses_nR[:, :1], size)
    offered_nB = combine(before[place_nB], pool.value_n[:, None])
    choice = offered_nB.argmin(axis=0)
    after = offered_nB[choice, np.arange(size)]
    return after, np.where(np.isfinite(after), choice, -1)


def _dynamic_programme(
    pools: Sequence[PoolColumns], capacity_R: IntArray, objective: LatencyObjective
) -> list[int] | None:
    """The best columns within the capacity, with fewest GPUs among equals."""
    tables = best_by_state(pools, capacity_R, objective)
    if tables is None:
        return None
    optimum = tables.value[(-1,) * tables.value.ndim]
    if not np.isfinite(optimum):
        return None
    states = np.argwhere(tables.value <= optimum)
    return tables.picks(states[states.sum(1).argmin()].tolist())
