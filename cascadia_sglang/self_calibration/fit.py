"""Fits the tiers of a running cascade on labels, and compares the fit with the present scores.

Three parts, by prompt. The first half fits. A quarter checks: there the fitted score must order
answers no worse than the built-in rank, or it is refused. The last quarter, which shaped nothing,
certifies: an upper bound on the share of accepted answers that the last tier disagrees with.

Everything is weighted by the inverse chance of a label, but for the bound. That is over the thinned
part, in which every prompt of the traffic had the same chance, so the exact bound of equal draws
holds there (Clopper and Pearson 1934, Biometrika 26); what thinning leaves out are labels of
escalated prompts, whose weights are so small that they would hardly count.

Shape legend: N labels of a tier, F base features, J earlier tiers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.acceptance import accepts
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.binomial_bounds import upper_bound
from cascadia_sglang.calibration.fit.certify import least_accepted
from cascadia_sglang.calibration.fit.feature_summary import summarise_features
from cascadia_sglang.calibration.fit.replay import TierReplay, ends, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.judge.builtin_rank import WEIGHTS
from cascadia_sglang.judge.calibration import SCORE_DIGITS, Calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.watch.agreement import Agreement
from cascadia_sglang.self_calibration.label import Label
from cascadia_sglang.self_calibration.likelihood_threshold import choose_likely
from cascadia_sglang.self_calibration.rows import TierRows, rows_of, weighted_quantiles

# Labels of each kind, agreeing and differing, that a part needs.
MIN_FIT_KIND = 10
MIN_CHECK_KIND = 5
# A difference of this size is what a check of a few hundred labels cannot tell from none.
AUROC_MARGIN = 0.01
_RANK_F = np.array([WEIGHTS.get(name, 0.0) for name in FEATURES])
_QUANTILES = np.linspace(0.0, 1.0, 101)


class Fitting(msgspec.Struct, frozen=True, kw_only=True):
    """One tier that is fitted, or counts for those above.

    Attributes:
        share: of the tier's own requests that climb, where its threshold follows one.
        threshold: where it is fixed.
        calibration: in force; None for the built-in rank.
        fits: whether it is to be fitted.
    """

    tier: int
    calibration: Calibration | None
    fits: bool
    share: float = 0.0
    threshold: float | None = None


class FitQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How good a tier's score is on labels that shaped nothing of it.

    Attributes:
        labels: of the tier whose agreement is known.
        effective: equally weighted labels that they are worth.
        unseen: of these, those outside the fitting part.
        auroc, rank_auroc: on the unseen ones, weighted, of the score and of the built-in rank.
        ece: of the score on them, weighted; None for the rank, which is no probability.
        threshold: at which the tier's share climbs; accepted and the bound are at it.
        accepted, differed: certifying labels of equal chance that it accepts, and those of them
            that the last tier disagrees with.
        bound: on the share that it disagrees with; None where too few were accepted.
        needed: accepted labels, at least, for a bound.
    """

    labels: int
    effective: float
    unseen: int
    auroc: float | None
    rank_auroc: float | None
    ece: float | None
    threshold: float
    accepted: int
    differed: int
    bound: float | None
    needed: int


class TierFit(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one tier.

    Attributes:
        calibration: to be put in force; None where the fit is refused.
        refusal: why it is refused; None where it is not.
        quality: of the fitted score, or where that is refused of what stays in force; None where
            there are too few labels to say.
    """

    tier: int
    calibration: Calibration | None = None
    refusal: str | None = None
    quality: FitQuality | None = None


class FitResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all tiers that were to be fitted.

    Attributes:
        likely: least mean log-probability of an answer that the last tier agrees with.
        likely_short: short answers that it was chosen on; 0 for the default.
        likely_same: share of them whose words say the same as it does; None for the default.
    """

    tiers: list[TierFit]
    likely: float
    likely_short: int
    likely_same: float | None


@dataclass(frozen=True, slots=True)
class _TierScores:
    """A tier's scores [N] of all its labels, and the log-odds above which it ends attempts [N]."""

    score_N: FloatArray
    level_N: FloatArray


def fit_labels(
    labels: Sequence[Label],
    tiers: Sequence[Fitting],
    early_abort: float | None,
    error: float,
) -> FitResult:
    """Fit the tiers, smallest first, each behind what the ones before it then say.

    Args:
        tiers: those below the last, smallest first, without the ones that have no judge.
        error: chance that a tier's bound does not hold.
    """
    likely = choose_likely(labels)
    scores: dict[int, FloatArray] = {}  # by tier, a score a label; NaN where there is none
    done = []
    for tier in tiers:
        rows = rows_of(labels, tier.tier, likely.threshold)
        known_NJ = _known(scores, tier.tier, rows)
        calibration = tier.calibration
        if tier.fits:
            fit = _fit_tier(rows, known_NJ, tier, early_abort, error)
            calibration = calibration if fit.calibration is None else fit.calibration
            done.append(fit)
        scores[tier.tier] = np.full(len(labels), np.nan)
        # A rank is no score that a calibration knows.
        if len(rows) and calibration is not None:
            scored = _scored(rows, known_NJ, calibration, early_abort)
            threshold = _threshold(rows, scored.score_N, tier)
            ended_N = ends(scored.level_N, threshold)
            scores[tier.tier][rows.label_N] = np.where(ended_N, np.nan, scored.score_N)
    return FitResult(
        tiers=done,
        likely=likely.threshold,
        likely_short=likely.short,
        likely_same=likely.same,
    )


def _known(scores: Mapping[int, FloatArray], tier: int, rows: TierRows) -> FloatArray:
    nothing_N = np.full(len(rows), np.nan)
    columns = [scores[t][rows.label_N] if t in scores else nothing_N for t in range(tier)]
    return np.column_stack(columns) if columns else np.empty((len(rows), 0))


def _fit_tier(
    rows: TierRows,
    known_NJ: FloatArray,
    tier: Fitting,
    early_abort: float | None,
    error: float,
) -> TierFit:
    needed = {"fit": MIN_FIT_KIND, "check": MIN_CHECK_KIND, "certify": MIN_CHECK_KIND}
    for part, least in needed.items():
        right_n = rows.answers.right_N[rows.part_N == part]
        kinds = int(right_n.sum()), int((~right_n).sum())
        if min(kinds) < least:
            refusal = (
                f"of the labels that {part} {kinds[0]} agree and {kinds[1]} differ, needed: "
                f"{least} of each"
            )
            return TierFit(tier=tier.tier, refusal=refusal)
    fit_n = np.flatnonzero(rows.part_N == "fit")
    fitted = rows.take(fit_n)
    candidate = fit_tier(
        fitted.answers, known_NJ[fit_n], weight_N=fitted.fit_weights, near_F=_RANK_F
    )
    score_N = _scored(rows, known_NJ, candidate, early_abort).score_N
    check_N = rows.part_N == "check"
    new, old = _auroc(rows, score_N, check_N), _auroc(rows, _rank(rows), check_N)
    if not new >= old - AUROC_MARGIN:
        stays = _scored(rows, known_NJ, tier.calibration, early_abort).score_N
        return TierFit(
            tier=tier.tier,
            refusal=f"on labels that did not fit it its AUROC is {new:.3f}, the rank's {old:.3f}",
            quality=_quality(rows, stays, tier, error, tier.calibration is not None),
        )
    quality = _quality(rows, score_N, tier, error, True)
    unseen_N = rows.part_N != "fit"
    unseen = rows.take(np.flatnonzero(unseen_N))
    quantiles = weighted_quantiles(score_N[unseen_N], unseen.weight_N, _QUANTILES)
    report = {
        "labels": quality.labels,
        "effective_labels": quality.effective,
        "unseen": quality.unseen,
        "auroc_reached": quality.auroc,
        "ece_reached": quality.ece,
        "threshold": quality.threshold,
        "accepted": quality.accepted,
        "accepted_differed": quality.differed,
        "accepted_differed_high": quality.bound,
    }
    return TierFit(
        tier=tier.tier,
        calibration=msgspec.structs.replace(
            candidate,
            score_quantiles=quantiles.round(SCORE_DIGITS).tolist(),
            quantile_samples=int(unseen.effective),
            feature_summary=summarise_features(
                unseen.answers.features_NF, unseen.weight_N, int(unseen.effective)
            ),
            agreement=Agreement(
                agreed=quality.accepted - quality.differed, answers=quality.accepted
            ),
            report={k: round(float(v), 6) for k, v in report.items() if v is not None},
        ),
        quality=quality,
    )


def _quality(
    rows: TierRows, score_N: FloatArray, tier: Fitting, error: float, is_probability: bool
) -> FitQuality:
    threshold = _threshold(rows, score_N, tier)
    unseen_N = rows.part_N != "fit"
    unseen = rows.take(np.flatnonzero(unseen_N))
    accepted_N = (rows.part_N == "certify") & rows.thinned_N & accepts(score_N, threshold)
    accepted = int(accepted_N.sum())
    differed = int((~rows.answers.right_N[accepted_N]).sum())
    needed = least_accepted(error)
    right_n, weight_n = unseen.answers.right_N, unseen.weight_N
    # Bins of twenty labels or so; each of fewer would say more of chance than of the score.
    bins = int(np.clip(unseen.effective / 20, 2, 15))
    return FitQuality(
        labels=len(rows),
        effective=rows.effective,
        unseen=len(unseen),
        auroc=_auroc(rows, score_N, unseen_N),
        rank_auroc=_auroc(rows, _rank(rows), unseen_N),
        ece=ece(score_N[unseen_N], right_n, bins, weight_n) if is_probability else None,
        threshold=threshold,
        accepted=accepted,
        differed=differed,
        bound=upper_bound(differed, accepted, error) if accepted >= needed else None,
        needed=needed,
    )


def _threshold(rows: TierRows, score_N: FloatArray, tier: Fitting) -> float:
    """The tier's, or at which its share climbs by the labels that certify nothing."""
    if tier.threshold is not None:
        return tier.threshold
    seen_N = rows.part_N != "certify"
    if not seen_N.any():
        return 0.0
    return float(weighted_quantiles(score_N[seen_N], rows.weight_N[seen_N], [tier.share])[0])


def _scored(
    rows: TierRows,
    known_NJ: FloatArray,
    calibration: Calibration | None,
    early_abort: float | None,
) -> _TierScores:
    if calibration is None:
        return _TierScores(_rank(rows), np.full(len(rows), np.inf))
    if calibration.probe is not None:
        # Labels keep no hidden states: what such a tier said stays unknown.
        return _TierScores(np.full(len(rows), np.nan), np.full(len(rows), np.inf))
    replay = TierReplay(calibration, rows.answers, early_abort)
    return _TierScores(sigmoid(replay.log_odds(known_NJ)), replay.abort_level(known_NJ))


def _rank(rows: TierRows) -> FloatArray:
    return sigmoid(rows.answers.features_NF @ _RANK_F)


def _auroc(rows: TierRows, score_N: FloatArray, of_N: FloatArray) -> float:
    return auroc(score_N[of_N], rows.answers.right_N[of_N], rows.weight_N[of_N])
