"""The cascade with a weaker judge: noise on the log-odds of its scores.

Normal noise is added to a tier's log-odds, for finished answers and on the way alike, with the
deviation at which its AUROC falls to a given one. Thresholds stay as they are, or are chosen anew
for the same target with the weaker judge; both are measured on the certifying part.

Shape legend: N prompts, T tiers.
"""

from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.split import Parts
from cascadia_sglang.calibration.fit.statistics import auroc
from cascadia_sglang.calibration.fit.thresholds import ThresholdResult, choose, outcome_of
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import logit

AUROCS = (0.85, 0.75, 0.65)
_BISECTIONS = 40
_MAX_SD = 1e3
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakerJudge:
    """A cascade whose tiers all judge with this AUROC, or their own where that is less.

    Attributes:
        noise_sd: of each tier's log-odds.
        kept: with the thresholds as they are.
        rechosen: with thresholds chosen anew; None where none meet the target.
    """

    auroc: float
    noise_sd: tuple[float, ...]
    kept: ThresholdResult
    rechosen: ThresholdResult | None


def weaker_judges(cascade: CalibratedCascade, parts: Parts) -> list[WeakerJudge]:
    """The cascade under each of `AUROCS`."""
    return [_weaker(cascade, parts, target) for target in AUROCS]


def _weaker(cascade: CalibratedCascade, parts: Parts, target: float) -> WeakerJudge:
    settings = cascade.settings
    rng = np.random.default_rng(_SEED)
    count = len(settings.tier_names) - 1
    choose_NT, certify_NT = (
        rng.normal(size=(len(part), count)) for part in (parts.choose, parts.certify)
    )
    noise_sd = _deviations(cascade, parts.choose, choose_NT, target)
    noisy = CascadeReplay(
        cascade.calibrations, parts.certify, settings.early_abort, certify_NT * noise_sd
    )
    unchanged = outcome_of(noisy.serve(cascade.thresholds), cascade.thresholds, settings.tier_cost)
    rechosen = None
    try:
        replay = CascadeReplay(
            cascade.calibrations, parts.choose, settings.early_abort, choose_NT * noise_sd
        )
        thresholds = choose(replay, settings.tier_cost, settings.target).thresholds
        rechosen = outcome_of(noisy.serve(thresholds), thresholds, settings.tier_cost)
    except CalibrationError:
        rechosen = None
    return WeakerJudge(auroc=target, noise_sd=tuple(noise_sd), kept=unchanged, rechosen=rechosen)


def _deviations(
    cascade: CalibratedCascade, pool: Pool, unit_NT: FloatArray, target: float
) -> list[float]:
    """Of every tier's noise; measured over all prompts, each tier behind untouched ones."""
    served = cascade.replay(pool).serve(cascade.thresholds)
    noise_sd = []
    for tier, score_N in enumerate(served.score_NT.T):
        seen_N = np.isfinite(score_N)
        right_N = pool.tiers[tier].right_N[seen_N]
        noise_sd.append(noise_for(logit(score_N[seen_N]), right_N, unit_NT[seen_N, tier], target))
    return noise_sd


def noise_for(
    log_odds_N: FloatArray, right_N: BoolArray, unit_N: FloatArray, target: float
) -> float:
    """Deviation of the noise that brings the AUROC down to a target; 0 where it is below already.

    Args:
        unit_N: standard normal draws, one an answer.
    """
    low, high = 0.0, _MAX_SD
    if not auroc(log_odds_N, right_N) > target:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if auroc(log_odds_N + middle * unit_N, right_N) > target:
            low = middle
        else:
            high = middle
    return high
