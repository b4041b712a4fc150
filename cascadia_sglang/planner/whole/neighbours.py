"""The plans nearest to one, by the values of the surfaces.

Shape legend: C columns, n columns of one pool, L limits, M pairs of columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.planner.deployment.columns import Columns


def neighbours(
    columns: Columns,
    picks: Sequence[int],
    uses_CL: FloatArray | IntArray,
    most_L: Sequence[float],
    number: int,
) -> list[list[int]]:
    """The best plans that differ from one in one pool or two, by the columns' own values.

    Of equals, as the slowest tier makes many, those whose other tiers are faster come first.

    Args:
        columns: of one candidate.
        uses_CL: what each column takes of all that is limited.
        most_L: what a plan may take of it.
    """
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    groups = [np.flatnonzero(columns.pool_C == pool) for pool in range(columns.pools)]
    pairs = list(itertools.combinations(range(columns.pools), 2)) or [(0, 0)]
    for first, second in pairs:
        rest = [pick for pool, pick in enumerate(picks) if pool not in (first, second)]
        one_n, other_n = groups[first], groups[second]
        if first == second:
            other_n = np.array([picks[first]])
        index_M = np.stack(
            [side.ravel() for side in np.meshgrid(one_n, other_n, indexing="ij")], axis=1
        )
        used_ML = uses_CL[rest].sum(axis=0) + uses_CL[index_M[:, 0]]
        if first != second:
            used_ML = used_ML + uses_CL[index_M[:, 1]]
        index_M = index_M[(used_ML <= np.asarray(most_L)).all(axis=1)]
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
