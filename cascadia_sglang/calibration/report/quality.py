"""How good the scores of a calibrated cascade are on answers that shaped nothing.

A tier is measured on the prompts that reach it at the chosen thresholds.

Shape legend: N prompts.
"""

from dataclasses import dataclass

import numpy as np

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.replay import CascadeReplay, ServedPool, TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_alone, fit_cascade
from cascadia_sglang.calibration.fit.split import Parts
from cascadia_sglang.calibration.fit.statistics import Interval, ece, measure
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import FEATURES

# What one could do without a judge, each as a probability by a logistic regression of its own.
BASELINES = {"length": "log_tokens", "mean_logprob": "mean_logprob", "min_logprob": "min_logprob"}
MIN_GROUP = 50
MAX_GROUPS = 20

Measurements = dict[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixQuality:
    """How well a chance after some tokens foretells whether the score reaches the threshold.

    Attributes:
        n: answers that reach the tier and still ran then.
        accepted: share of them whose final score reaches the threshold.
    """

    tokens: int
    n: int
    accepted: float
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TierQuality:
    """One tier's score on what reaches it.

    Attributes:
        by: metrics of the score and of each baseline; `constrained` and `plain` are the score's
            on the answers under a grammar and on the others, where both exist.
        prefix_ece: over all checkpoints together; None without any.
    """

    tier: str
    reached: int
    accuracy: float
    by: dict[str, Measurements]
    prefix: list[PrefixQuality]
    prefix_ece: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQuality:
    """A tier's score on a group that was left out of the fit."""

    group: str
    tier: str
    accuracy: float
    by: Measurements


def tier_qualities(cascade: CalibratedCascade, parts: Parts) -> list[TierQuality]:
    """Every tier with a calibration, on the certifying part."""
    pool = parts.certify
    served = cascade.replay(pool).serve(cascade.thresholds)
    fitted = cascade.replay_fitted(parts.fit).serve(cascade.thresholds)
    qualities = []
    for tier, score_N in enumerate(cascade.scores(pool, served)):
        reached_N = served.reached_NT[:, tier] & np.isfinite(score_N)
        right_N = pool.tiers[tier].right_N[reached_N]
        by = {"score": measure(score_N[reached_N], right_N)}
        by |= _baselines(parts.fit, fitted.reached_NT[:, tier], pool, reached_N, tier)
        by |= _constrained_apart(score_N[reached_N], right_N, pool.constrained_N[reached_N])
        prefix, prefix_ece = _prefix(cascade, pool, served, tier, score_N)
        qualities.append(
            TierQuality(
                tier=cascade.settings.tier_names[tier],
                reached=int(reached_N.sum()),
                accuracy=float(right_N.mean()) if len(right_N) else float("nan"),
                by=by,
                prefix=prefix,
                prefix_ece=prefix_ece,
            )
        )
    return qualities


def _baselines(
    fit: Pool, fit_reached_N: BoolArray, pool: Pool, reached_N: BoolArray, tier: int
) -> dict[str, Measurements]:
    """Each baseline, fitted on what reaches the tier and measured on what does."""
    answers = fit.tiers[tier]
    rows_N = fit_reached_N & np.isfinite(answers.features_NF).all(1)
    right_n = answers.right_N[rows_N]
    if len(np.unique(right_n)) < 2:
        return {}
    baselines = {}
    for name, feature in BASELINES.items():
        column = FEATURES.index(feature)
        slope, bias = fit_alone(answers.features_NF[rows_N, column], right_n)
        tier_answers = pool.tiers[tier]
        score_n = sigmoid(slope * tier_answers.features_NF[reached_N, column] + bias)
        baselines[name] = measure(score_n, tier_answers.right_N[reached_N])
    return baselines


def _constrained_apart(
    score_N: FloatArray, right_N: BoolArray, constrained_N: BoolArray
) -> dict[str, Measurements]:
    if constrained_N.all() or not constrained_N.any():
        return {}
    return {
        "constrained": measure(score_N[constrained_N], right_N[constrained_N]),
        "plain": measure(score_N[~constrained_N], right_N[~constrained_N]),
    }


def _prefix(
    cascade: CalibratedCascade, pool: Pool, served: ServedPool, tier: int, score_N: FloatArray
) -> tuple[list[PrefixQuality], float | None]:
    """Per checkpoint and over all of them; nothing for the last tier, which has no threshold."""
    if tier >= len(cascade.thresholds):
        return [], None
    threshold = cascade.thresholds[tier]
    known_NJ = cascade.replay(pool).known_scores(cascade.thresholds[:tier])
    replay = TierReplay(cascade.calibrations[tier], pool.tiers[tier], None)
    checkpoints, chances, outcomes = [], [], []
    for tokens in replay.checkpoints:
        chance_N = replay.chance(tokens, threshold, known_NJ)
        rows_N = served.reached_NT[:, tier] & np.isfinite(chance_N) & np.isfinite(score_N)
        if not rows_N.any():
            continue
        reaches_N = accepts(score_N[rows_N], threshold)
        chances.append(chance_N[rows_N])
        outcomes.append(reaches_N)
        checkpoints.append(
            PrefixQuality(
                tokens=tokens,
                n=int(rows_N.sum()),
                accepted=float(reaches_N.mean()),
                ece=ece(chances[-1], reaches_N),
            )
        )
    if not checkpoints:
        return [], None
    return checkpoints, ece(np.concatenate(chances), np.concatenate(outcomes))


def out_of_group(cascade: CalibratedCascade, parts: Parts) -> list[GroupQuality]:
    """Every group measured by scores that were fitted without it; empty with fewer than two.

    Its answers in the other parts are measured, whichever tier they reach.
    """
    unfitted = Pool.concatenated([parts.choose, parts.certify])
    names = sorted({group for group in unfitted.groups if group is not None})
    qualities: list[GroupQuality] = []
    for group in names[:MAX_GROUPS] if len(names) > 1 else []:
        others = np.flatnonzero([g != group for g in parts.fit.groups])
        members = unfitted.take(np.flatnonzero([g == group for g in unfitted.groups]))
        if len(members) < MIN_GROUP:
            continue
        try:
            calibrations = fit_cascade(parts.fit.take(others), cascade.settings.early_abort)
        except CalibrationError:
            continue  # without this group, a tier's answers are all of one kind
        replay = CascadeReplay(calibrations, members, cascade.settings.early_abort)
        score_NT = replay.serve(cascade.thresholds).score_NT
        for tier, score_N in enumerate(score_NT.T):
            right_N = members.tiers[tier].right_N
            qualities.append(
                GroupQuality(
                    group=group,
                    tier=cascade.settings.tier_names[tier],
                    accuracy=float(right_N.mean()),
                    by=measure(score_N, right_N),
                )
            )
    return qualities
