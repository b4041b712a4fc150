"""What numbers of GPUs cost, and which cost the same.

Shape legend: B levels from 0, S numbers of GPUs of every type, R types.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray, IntArray
from cascadia_sglang.planner.problem.problem import Problem

# Costs that differ by less are one.
SAME_COST = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Numbers of GPUs of every type within the budget, by what they cost.

    Attributes:
        cost_B: every cost, rising.
        state_S: place of each in the tables, the cheapest first.
        last_B: the last of each level in `state_S`.
        price_R: of one GPU of each type; 1 without prices.
    """

    cost_B: FloatArray
    state_S: IntArray
    last_B: IntArray
    price_R: FloatArray

    def level_of(self, cost: float) -> int:
        """The last level that costs no more."""
        return int(np.searchsorted(self.cost_B, cost + SAME_COST, side="right")) - 1

    def best_so_far(self, value_S: FloatArray) -> IntArray:
        """Of every place in `state_S` the state of least value up to there, the first of equals.

        Args:
            value_S: of every state, in the order of the tables.
        """
        ordered_s = value_S[self.state_S]
        least_s = np.minimum.accumulate(np.concatenate(([np.inf], ordered_s)))[:-1]
        place_S = np.maximum.accumulate(
            np.where(ordered_s < least_s, np.arange(len(self.state_S)), 0)
        )
        best_S: IntArray = self.state_S[place_S]
        return best_S


def levels_of(problem: Problem, capacity_R: IntArray) -> Levels:
    """The levels of a problem whose types of GPU have these numbers."""
    types = list(dict.fromkeys(kind.gpu for kind in problem.cluster))
    price_R = np.array([problem.price_per_gpu_hour.get(name, 1.0) for name in types])
    gpus_RS = np.indices([int(gpus) + 1 for gpus in capacity_R]).reshape(len(capacity_R), -1)
    cost_S: FloatArray = np.round(price_R @ gpus_RS, 6)
    state_S = np.flatnonzero(gpus_RS.sum(axis=0) <= problem.gpu_budget)
    state_S = state_S[np.argsort(cost_S[state_S], kind="stable")]
    cost_B, first_B = np.unique(cost_S[state_S], return_index=True)
    last_B = np.append(first_B[1:], len(state_S)) - 1
    return Levels(cost_B=cost_B, state_S=state_S, last_B=last_B, price_R=price_R)
