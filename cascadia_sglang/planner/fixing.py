"""Columns that no plan better than the incumbent can hold; they are fixed at zero.

Shape legend: C columns, G groups (one a candidate and pool), K candidates, R resources.
"""

from __future__ import annotations

import numpy as np

from cascadia_sglang.planner.columns import BoolArray, Columns, FloatArray, IntArray

# Above the incumbent by less than this share of it, a column stays: rounding must not cut it.
SLACK = 1e-9


def useful(columns: Columns, incumbent_s: float) -> BoolArray:
    """Mark the columns [C] that a plan no worse than the incumbent may hold.

    A column goes where the others of its candidate at their best would still be worse together
    with it, or would not leave it its GPUs, and where a pool of its candidate has none left.
    """
    kept_C = np.ones(len(columns.value_C), dtype=bool)
    while True:
        left = columns.only(kept_C)
        still_C = _within(left, incumbent_s * (1 + SLACK))
        if still_C.all():
            return kept_C
        kept_C[np.flatnonzero(kept_C)[~still_C]] = False


def _within(columns: Columns, limit_s: float) -> BoolArray:
    """One round of the tests above."""
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
