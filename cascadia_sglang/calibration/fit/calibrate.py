"""A calibrated cascade from a pool of answers: fit, choose the thresholds, certify.

Each step sees its own part of the sample alone, in this order, so the certificate is about scores
and thresholds that were fixed before its answers were looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.certify import QualityCertificate, certify
from cascadia_sglang.calibration.fit.probe import ProbeTrial
from cascadia_sglang.calibration.fit.replay import CascadeReplay, ServedPool, TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tiers
from cascadia_sglang.calibration.fit.split import PARTS, Parts, part_of, split_sample
from cascadia_sglang.calibration.fit.thresholds import Target, ThresholdResult, choose, outcome_of
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.config.speculation import Speculation
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.calibration import Calibration

MIN_PART = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the fit is told.

    Attributes:
        tier_names: smallest first.
        tier_cost: of one answer of each tier, in any unit.
        early_abort: of the cascade; None where it never ends an attempt early.
        models: fingerprint of each tier's weights; None where not known. Empty for none known.
        vocabularies: fingerprint of each tier's vocabulary. Empty for none known.
        speculations: how each tier decodes speculatively. Empty for none that does.
    """

    tier_names: tuple[str, ...]
    tier_cost: tuple[float, ...]
    target: Target
    early_abort: float | None
    models: tuple[str | None, ...] = ()
    vocabularies: tuple[str, ...] = ()
    speculations: tuple[Speculation | None, ...] = ()

    def source(self, tier_index: int) -> dict[str, Any]:
        """What a tier's calibration file says of the model that answered."""
        return {
            "model": self.models[tier_index] if self.models else None,
            "speculation": self.speculations[tier_index] if self.speculations else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedCascade:
    """Scores, thresholds and what can be promised of them.

    Attributes:
        calibrations: of every tier, the last one's only where it could be fitted.
        trials: of the probes of these tiers, None where none was tried; empty for none at all.
        chosen: what the thresholds make of the part that they were chosen on.
        held_out: what they make of the certifying part.
    """

    settings: Settings
    calibrations: tuple[Calibration, ...]
    chosen: ThresholdResult
    held_out: ThresholdResult
    certificate: QualityCertificate
    trials: tuple[ProbeTrial | None, ...] = ()

    @property
    def thresholds(self) -> tuple[float, ...]:
        return self.chosen.thresholds

    def replay(self, pool: Pool) -> CascadeReplay:
        """These scores on any answers."""
        return CascadeReplay(self.calibrations, pool, self.settings.early_abort)

    def replay_fitted(self, fit: Pool) -> CascadeReplay:
        """These scores on the fitting part: a probe has learnt its answers, and is not asked."""
        probed = [None if trial is None else trial.probed_N for trial in self.trials]
        return CascadeReplay(self.calibrations, fit, self.settings.early_abort, probed=probed)

    def scores(self, pool: Pool, served: ServedPool) -> list[FloatArray]:
        """Scores [N] of every tier that has a calibration, by what it knew in `served`."""
        scores = list(served.score_NT.T)
        last = len(pool.tiers) - 1
        if len(self.calibrations) > last:
            known_NJ = self.replay(pool).known_scores(self.thresholds)
            replay = TierReplay(self.calibrations[last], pool.tiers[last], None)
            scores.append(sigmoid(replay.log_odds(known_NJ)))
        return scores


def calibrate(pool: Pool, settings: Settings) -> CalibratedCascade:
    """Fit, choose and certify.

    Raises:
        CalibrationError: if the sample is too small or of one kind, or the target is out of reach.
    """
    return calibrate_parts(split_sample(pool), settings)


def calibrate_parts(parts: Parts, settings: Settings) -> CalibratedCascade:
    """The same on a sample that is divided already."""
    for name, part in (("fit", parts.fit), ("choose", parts.choose), ("certify", parts.certify)):
        if len(part) < MIN_PART:
            raise CalibrationError(
                f"{len(part)} labelled prompts are left to {name}, {MIN_PART} are needed"
            )
    fitted = fit_tiers(parts.fit, settings.early_abort)
    calibrations = [tier.calibration for tier in fitted]
    replay = CascadeReplay(calibrations, parts.choose, settings.early_abort)
    chosen = choose(replay, settings.tier_cost, settings.target)
    trials = [tier.trial for tier in fitted]
    return certified(calibrations, chosen, parts.certify, settings, trials)


def certified(
    calibrations: Sequence[Calibration],
    chosen: ThresholdResult,
    part: Pool,
    settings: Settings,
    trials: Sequence[ProbeTrial | None] = (),
) -> CalibratedCascade:
    """Look at the last part, for the first time."""
    served = CascadeReplay(calibrations, part, settings.early_abort).serve(chosen.thresholds)
    return CalibratedCascade(
        settings=settings,
        calibrations=tuple(calibrations),
        chosen=chosen,
        held_out=outcome_of(served, chosen.thresholds, settings.tier_cost),
        certificate=certify(served),
        trials=tuple(trials),
    )


def check_parts(prompt_keys: Sequence[str]) -> None:
    """Check, before anything is asked, that labelled prompts are enough for each part.

    Raises:
        CalibrationError: if not; says how many more are needed, about.
    """
    counts = {name: sum(part_of(key) == name for key in prompt_keys) for name in PARTS}
    short = MIN_PART - min(counts.values())
    if short > 0:
        listed = ", ".join(f"{count} to {name}" for name, count in counts.items())
        raise CalibrationError(
            f"the sample has {len(prompt_keys)} labelled prompts, by their hashes {listed}; "
            f"{MIN_PART} of each are needed: about {len(PARTS) * short} more prompts"
        )


def true_risks(served: ServedPool) -> list[float]:
    """Share of wrong answers among those each tier below the last accepts; NaN where none is."""
    risks = []
    for tier in range(served.score_NT.shape[1]):
        right = served.right_N[served.answered_by_N == tier]
        risks.append(float(np.mean(~right)) if len(right) else float("nan"))
    return risks
