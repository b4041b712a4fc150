"""Made-up traffic whose chance of agreement is known, and the labels that a server takes of it.

Shape legend: N prompts, F base features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.judge.builtin_rank import WEIGHTS
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.self_calibration.label import Label, LabelRates, VisitLabel

RANK_F = np.array([WEIGHTS.get(name, 0.0) for name in FEATURES])
WEAKEST, MEAN = FEATURES.index("weakest_logit"), FEATURES.index("mean_logprob")
MARGIN = FEATURES.index("min_margin")


@dataclass(frozen=True)
class Traffic:
    """One tier's answers to N prompts: features, and the chance that the last tier agrees."""

    features_NF: np.ndarray
    chance_N: np.ndarray

    @property
    def rank(self) -> np.ndarray:
        return 1 / (1 + np.exp(-(self.features_NF @ RANK_F)))


def make_traffic(count: int, seed: int) -> Traffic:
    """What the rank sees tells something of agreement; one more feature tells more."""
    rng = np.random.default_rng(seed)
    log_odds_N = 1.5 + 2.0 * rng.normal(size=count)
    features_NF = rng.normal(size=(count, len(FEATURES)))
    features_NF[:, WEAKEST] = log_odds_N + 2.0 * rng.normal(size=count)
    features_NF[:, MEAN] = -0.5 + 0.1 * log_odds_N + 0.2 * rng.normal(size=count)
    features_NF[:, MARGIN] = log_odds_N + 1.5 * rng.normal(size=count)
    return Traffic(features_NF, 1 / (1 + np.exp(-log_odds_N)))


def labels_of(
    traffic: Traffic,
    rates: LabelRates,
    climbs: Callable[[Traffic], np.ndarray],
    seed: int,
) -> list[Label]:
    """The labels of one tier below the last.

    Args:
        climbs: which prompts the tier does not answer, [N].
    """
    rng = np.random.default_rng(seed)
    count = len(traffic.chance_N)
    climbs_N = climbs(traffic)
    agrees_N = rng.random(count) < traffic.chance_N
    is_taken_N = rng.random(count) < rates.attempts
    is_taken_N &= climbs_N | (rng.random(count) < rates.accepted)
    draw_N = rng.random(count)
    return [
        Label(
            prompt=f"{seed}-{row}",
            chance=rates.attempts if climbs_N[row] else rates.least_chance,
            least_chance=rates.least_chance,
            draw=float(draw_N[row]),
            visits=[
                VisitLabel(
                    tier=0,
                    tokens=[4],
                    features=[traffic.features_NF[row].tolist()],
                    same=bool(agrees_N[row]),
                )
            ],
        )
        for row in np.flatnonzero(is_taken_N)
    ]


def lowest(share: float) -> Callable[[Traffic], np.ndarray]:
    """The share of the prompts with the lowest rank climbs."""
    return lambda traffic: traffic.rank < np.quantile(traffic.rank, share)
