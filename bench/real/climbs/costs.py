"""What a request costs at equal accuracy, by thresholds and by expected gain.

An attempt of a tier costs its mean recorded seconds per answer, as a multiple of the smaller
tier's. Every system has one number to set: a threshold, or the price of a unit of cost. The cost
reported is the least among settings that reach the accuracy on the same questions.

Shape legend: N questions, S settings, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.real.climbs.ranks import Case, chances_by_both, score_of
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.replay import sigmoid

THRESHOLDS = np.linspace(0.0, 1.0, 64)
# Quality that a unit of the smaller tier's cost has to bring. Below 0, the larger tier answers also
# where it is expected to be worse: chances are not exact, and some accuracies need that.
PRICES = np.concatenate((-np.geomspace(1.0, 1e-3, 16), [0.0], np.geomspace(1e-4, 1.0, 63)))
_RIDGE = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What every setting of a system makes of every question.

    Attributes:
        right_SN: whether the answer that goes out is right.
        cost_SN: in attempts of the smaller tier.
    """

    right_SN: BoolArray
    cost_SN: FloatArray

    def least_cost(self, needed: float, count_N: FloatArray) -> float:
        """Of a request, with a setting that is right on this share; infinite where none is.

        Args:
            count_N: how often each question counts.
        """
        weight_N = count_N / count_N.sum()
        is_enough_S = self.right_SN @ weight_N >= needed - 1e-9
        costs_S = (self.cost_SN @ weight_N)[is_enough_S]
        return float(costs_S.min()) if len(costs_S) else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginnings:
    """Where questions begin, and which answers of the smaller tier climb, by setting.

    Attributes:
        direct_SN: those that begin at the larger tier.
        climb_SN: those whose smaller answer is not accepted; means nothing where `direct_SN`.
    """

    direct_SN: BoolArray
    climb_SN: BoolArray

    def outcome(self, case: Case, large_cost: float) -> Outcome:
        """With the answers that were recorded."""
        small_N, large_N = case.others.small_N, case.others.large_N
        is_large_SN = self.direct_SN | self.climb_SN
        climb_cost_SN = 1.0 + large_cost * self.climb_SN
        return Outcome(
            right_SN=np.where(is_large_SN, large_N, small_N),
            cost_SN=np.where(self.direct_SN, large_cost, climb_cost_SN),
        )


System = Callable[[Case, float], Beginnings]


def _and_all(direct_SN: BoolArray) -> BoolArray:
    """One setting more, in which the smaller tier's own price is too high for any question."""
    return np.vstack((direct_SN, np.ones(direct_SN.shape[1], dtype=bool)))


def _nowhere(climb_SN: BoolArray) -> BoolArray:
    return np.zeros(climb_SN.shape, dtype=bool)


def _large_alone(case: Case, _: float) -> Beginnings:
    direct_SN = np.ones((1, len(case.others.small_N)), dtype=bool)
    return Beginnings(direct_SN=direct_SN, climb_SN=direct_SN)


def _thresholds(case: Case, _: float) -> Beginnings:
    climb_SN = score_of(case) < THRESHOLDS[:, None]
    return Beginnings(direct_SN=_nowhere(climb_SN), climb_SN=climb_SN)


def _thresholds_and_entry(case: Case, large_cost: float) -> Beginnings:
    """The entry rule `predicted`: the smaller tier is skipped where it costs more than it saves."""
    climb_SN = score_of(case) < THRESHOLDS[:, None]
    skips_N = sigmoid(case.others_M2[:, 0]) < min(1.0, 1.0 / large_cost)
    return Beginnings(direct_SN=np.broadcast_to(skips_N, climb_SN.shape), climb_SN=climb_SN)


def _gain_of_answers(case: Case, large_cost: float) -> Beginnings:
    _, (small_N, large_N) = chances_by_both(case)
    climb_SN = large_N - small_N > PRICES[:, None] * large_cost
    return Beginnings(direct_SN=_nowhere(climb_SN), climb_SN=climb_SN)


def _gain_of_prompts(case: Case, large_cost: float) -> Beginnings:
    small_N, large_N = sigmoid(case.others_M2.T)
    direct_SN = _and_all(large_N - small_N > PRICES[:, None] * (large_cost - 1.0))
    return Beginnings(direct_SN=direct_SN, climb_SN=_nowhere(direct_SN))


def _gain_of_both(case: Case, large_cost: float) -> Beginnings:
    """Where to begin, and what to accept, by the same prices.

    A question begins, or goes on, at the tier whose worth less its price is the largest: backward
    induction over the two tiers.
    """
    (known_small, known_large), (small_N, large_N) = chances_by_both(case)
    direct, climbs = [], []
    for price in PRICES:
        # What a smaller answer is worth to the climb beyond the larger tier's chance, by the
        # prompt: a regression of what it was worth on the known questions.
        worth_n = np.maximum(known_small, known_large - price * large_cost) - known_large
        beyond_N = _regressed(case.known_n2, worth_n, case.others_M2)
        direct.append(-beyond_N > price * (large_cost - 1.0))
        climbs.append(large_N - small_N > price * large_cost)
    return Beginnings(direct_SN=_and_all(np.array(direct)), climb_SN=_and_all(np.array(climbs)))


SYSTEMS: Mapping[str, System] = {
    "the larger tier alone": _large_alone,
    "thresholds": _thresholds,
    "thresholds, predicted entry": _thresholds_and_entry,
    "gain of answers": _gain_of_answers,
    "gain of prompts": _gain_of_prompts,
    "gain of prompts and answers": _gain_of_both,
}


def outcomes(case: Case, large_cost: float) -> dict[str, Outcome]:
    """Every system fitted on the known questions, on the others."""
    return {
        name: system(case, large_cost).outcome(case, large_cost) for name, system in SYSTEMS.items()
    }


def joined_outcomes(parts: Sequence[Mapping[str, Outcome]]) -> dict[str, Outcome]:
    """Of several cases, one after the other; a setting is the same for all."""
    return {
        name: Outcome(
            right_SN=np.concatenate([part[name].right_SN for part in parts], axis=1),
            cost_SN=np.concatenate([part[name].cost_SN for part in parts], axis=1),
        )
        for name in SYSTEMS
    }


def _regressed(known_n2: FloatArray, worth_n: FloatArray, others_M2: FloatArray) -> FloatArray:
    """Ridge regression on the chances by the prompt, their squares and their product."""

    def columns(log_odds_n2: FloatArray) -> FloatArray:
        chance_n2 = sigmoid(log_odds_n2)
        product_n = chance_n2.prod(axis=1)
        ones_n = np.ones(len(log_odds_n2))
        return np.column_stack((ones_n, log_odds_n2, chance_n2, chance_n2**2, product_n))

    known_nC = columns(known_n2)
    moments_CC = known_nC.T @ known_nC + _RIDGE * np.eye(known_nC.shape[1])
    regressed_M: FloatArray = columns(others_M2) @ np.linalg.solve(moments_CC, known_nC.T @ worth_n)
    return regressed_M
