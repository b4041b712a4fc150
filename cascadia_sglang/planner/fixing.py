"""Columns that no plan better than the incumbent can hold; they are fixed at zero.

Shape legend: C columns, G groups (one a candidate and pool), K candidates, R resources.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, IntArray
from cascadia_sglang.planner.columns import Columns

# Above the incumbent by less than this share of it, a column stays: rounding must not cut it.
SLACK = 1e-9
# Thirds taken off the range of prices: it ends a millionth as wide.
PRICE_STEPS = 35


def useful(columns: Columns, incumbent_s: float) -> BoolArray:
    """Mark the columns [C] that a plan no worse than the incumbent may hold.

    A column goes where the others of its candidate at their best would still be worse together
    with it, or would not leave it its GPUs, and where a pool of its candidate has none left. Where
    values add up, GPUs also get a price, and with it the others at their best.
    """
    limit_s = incumbent_s * (1 + SLACK)
    kept_C = np.ones(len(columns.value_C), dtype=bool)
    while _cut(columns, kept_C, limit_s, _within):
        continue
    if columns.objective == "path" and len(columns.capacity_R) == 1:
        # Every pool of a candidate that is left has columns here, as the price needs them.
        while _cut(columns, kept_C, limit_s, _within_priced):
            while _cut(columns, kept_C, limit_s, _within):
                continue
    return kept_C


def _cut(
    columns: Columns, kept_C: BoolArray, limit_s: float, test: Callable[[Columns, float], BoolArray]
) -> bool:
    """Unmark what fails a test among what is left; whether anything did."""
    if not kept_C.any():
        return False
    still_C = test(columns.only(kept_C), limit_s)
    kept_C[np.flatnonzero(kept_C)[~still_C]] = False
    return not bool(still_C.all())


def _within(columns: Columns, limit_s: float) -> BoolArray:
    """One round of the tests without a price."""
    groups_C = columns.groups()
    switching_others_C = _others_least(columns, columns.switching_C, groups_C)
    if columns.objective == "bottleneck":
        bound_C = columns.value_C + columns.switching_C + switching_others_C
    else:
        cost_C = columns.value_C + columns.switching_C
        bound_C = cost_C + _others_least(columns, cost_C, groups_C)
    within_C = bound_C <= limit_s
    for resource, capacity in enumerate(columns.capacity_R.tolist()):
        uses_C = columns.uses_CR[:, resource].astype(np.float64)
        within_C &= uses_C + _others_least(columns, uses_C, groups_C) <= capacity
    return within_C


def _others_least(columns: Columns, amount_C: FloatArray, groups_C: IntArray) -> FloatArray:
    """Sum over the other pools of a column's candidate of their least amount; inf without any."""
    candidates = int(columns.candidate_C.max(initial=-1)) + 1
    least_G = np.full(candidates * columns.pools, np.inf)
    np.minimum.at(least_G, groups_C, amount_C)
    least_KP = least_G.reshape(candidates, columns.pools)
    total_K = least_KP.sum(1)
    total_C, own_C = total_K[columns.candidate_C], least_G[groups_C]
    # Where a pool has no column the sum is infinite, and so is what is left of it.
    others_C: FloatArray = np.where(np.isfinite(total_C), total_C - own_C, np.inf)
    return others_C


def _within_priced(columns: Columns, limit_s: float) -> BoolArray:
    """One round of reduced-cost fixing with the price of a GPU that gives the best bound.

    For any price of 0 or more, a plan is worth at least the sum of its pools' least value + price
    * GPUs, less price * capacity (Lagrange relaxation of the budget). One resource alone.
    """
    cost_C = columns.value_C + columns.switching_C
    uses_C = columns.uses_CR[:, 0].astype(np.float64)
    starts_G = np.flatnonzero(np.diff(columns.groups(), prepend=-1))
    group_C = np.cumsum(np.isin(np.arange(len(cost_C)), starts_G)) - 1
    candidate_G = np.arange(len(starts_G)) // columns.pools
    capacity = float(columns.capacity_R[0])

    def relaxed(price_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reduced costs [C] above the least of their group, and the bound [K] of each candidate."""
        reduced_C = cost_C + price_K[candidate_G][group_C] * uses_C
        least_G = np.minimum.reduceat(reduced_C, starts_G)
        bound_K = least_G.reshape(-1, columns.pools).sum(1) - price_K * capacity
        return reduced_C - least_G[group_C], bound_K

    # The bound is concave in the price, and no GPU saves more than the whole incumbent.
    low_K = np.zeros(len(starts_G) // columns.pools)
    high_K = np.full_like(low_K, limit_s)
    for _ in range(PRICE_STEPS):
        third_K = (high_K - low_K) / 3
        rises_K = relaxed(low_K + third_K)[1] < relaxed(high_K - third_K)[1]
        low_K = np.where(rises_K, low_K + third_K, low_K)
        high_K = np.where(rises_K, high_K, high_K - third_K)
    above_C, bound_K = relaxed((low_K + high_K) / 2)
    within_C: BoolArray = above_C + bound_K[candidate_G][group_C] <= limit_s
    return within_C
