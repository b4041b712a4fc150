"""The plans nearest to one, by the values of the surfaces.

Shape legend: C columns, n columns of one pool, L limits, M pairs of columns that fit.
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
    by_picks: dict[tuple[int, ...], tuple[float, float]] = {}
    groups = [np.flatnonzero(columns.pool_C == pool) for pool in range(columns.pools)]
    pairs = list(itertools.combinations(range(columns.pools), 2)) or [(0, 0)]
    for first, second in pairs:
        rest = [pick for pool, pick in enumerate(picks) if pool not in (first, second)]
        one_n, other_n = groups[first], groups[second]
        used_nL, more_nL = uses_CL[rest].sum(axis=0) + uses_CL[one_n], uses_CL[other_n]
        more_s_n, more_switching_n = columns.value_C[other_n], columns.switching_C[other_n]
        if first == second:
            other_n, more_nL = other_n[:1], np.zeros((1, len(most_L)))
            more_s_n = more_switching_n = np.zeros(1)
        fits_nn = np.ones((len(one_n), len(other_n)), bool)
        for limit, most in enumerate(most_L):
            fits_nn &= used_nL[:, limit, None] + more_nL[None, :, limit] <= most
        one_M, other_M = np.nonzero(fits_nn)
        value_M, more_s_M = columns.value_C[one_n[one_M]], more_s_n[other_M]
        rest_s = columns.value_C[rest]
        sum_M = value_M + more_s_M + rest_s.sum()
        worth_M = sum_M
        if columns.objective == "bottleneck":
            worth_M = np.maximum(np.maximum(value_M, more_s_M), rest_s.max(initial=0.0))
        switching_M = columns.switching_C[one_n[one_M]] + more_switching_n[other_M]
        worth_M = worth_M + switching_M + columns.switching_C[rest].sum()
        for index in _least(worth_M, sum_M, number + 1):
            changed = list(picks)
            changed[first] = int(one_n[one_M[index]])
            if first != second:
                changed[second] = int(other_n[other_M[index]])
            by_picks[tuple(changed)] = (float(worth_M[index]), float(sum_M[index]))
    by_picks.pop(tuple(picks), None)
    return [
        list(picked)
        for picked in sorted(by_picks, key=lambda picked: (by_picks[picked], picked))[:number]
    ]


def _least(worth_M: FloatArray, sum_M: FloatArray, number: int) -> list[int]:
    """Places of the least, in order; of equals those of the least sum, then the first.

    Sorts no more than those that are as little as the last of them.
    """
    places = np.arange(len(worth_M))
    if len(worth_M) > number:
        places = np.flatnonzero(worth_M <= np.partition(worth_M, number - 1)[number - 1])
    order = np.lexsort((sum_M[places], worth_M[places]))[:number]
    return [int(index) for index in places[order]]
