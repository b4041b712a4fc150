"""The second judge: fitted on how a tier reads the answers that reach it from the tier before.

It is told of a draft what the first judge is told of an answer, with the reading tier's own
probabilities, and of the tiers before what their judges said.

Shape legend: N prompts of a part, n those whose draft gets to the tier, F base features, J earlier
tiers.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.replay import TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier
from cascadia_sglang.calibration.fit.split import Parts
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.calibration import Calibration

# Drafts of each kind, right and wrong, that a fit needs.
MIN_KIND = 20
# Right answers that may be lost by confirming drafts, as a share of all prompts.
MOST_LOST = 0.001
# A draft is not worth reading where less than this share of such drafts' tokens is kept: the least
# break-even that was seen on any server is 2 %.
LEAST_KEPT = 0.02
_LEAST_HIGH = 0.5
_LOWS = np.linspace(0.0, 0.5, 51)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedDrafts:
    """What confirming drafts from a score on does to one part of the sample.

    Attributes:
        drafts: that get to the tier whole.
        confirmed: of these.
        lost: right answers that go out no more, less those that go out in their place.
        prompts: of the part.
    """

    drafts: int
    confirmed: int
    lost: int
    prompts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondJudge:
    """Of one tier.

    Attributes:
        tier: index of the tier that reads.
        high: least score at which a draft may be confirmed; None where none may be.
    """

    tier: int
    calibration: Calibration
    high: float | None


@dataclass(frozen=True, slots=True)
class _Drafts:
    """Those of one part that get to a tier whole, as they would be served."""

    rows_n: RowArray
    features_nF: FloatArray
    known_nJ: FloatArray
    right_n: BoolArray
    right_instead_n: BoolArray  # of what goes out where the draft is not confirmed


def fit_second_judges(cascade: CalibratedCascade, parts: Parts) -> list[SecondJudge]:
    """One for every tier that reads enough drafts of both kinds."""
    judges: list[SecondJudge] = []
    for tier in range(1, len(parts.fit.tiers)):
        fit = _drafts(cascade, parts.fit, tier, is_fit=True)
        if fit is None or min(fit.right_n.sum(), (~fit.right_n).sum()) < MIN_KIND:
            continue
        answers = TierAnswers(features_NF=fit.features_nF, prefix_NF={}, right_N=fit.right_n)
        calibration = fit_tier(answers, fit.known_nJ)
        chosen, held_out = (_drafts(cascade, part, tier) for part in (parts.choose, parts.certify))
        if chosen is None or held_out is None:
            continue
        high = _high(_score(calibration, chosen), chosen, len(parts.choose))
        score_n = _score(calibration, held_out)
        report = {
            "held_out": float(len(score_n)),
            "auroc": auroc(score_n, held_out.right_n),
            "ece": ece(score_n, held_out.right_n),
        }
        judges.append(
            SecondJudge(
                tier=tier,
                calibration=msgspec.structs.replace(
                    calibration, report={k: v for k, v in report.items() if np.isfinite(v)}
                ),
                high=high,
            )
        )
    return judges


def confirmed(
    judge: SecondJudge, cascade: CalibratedCascade, part: Pool, high: float
) -> ConfirmedDrafts:
    """What confirming a tier's drafts from `high` on does to a part of the sample."""
    drafts = _drafts(cascade, part, judge.tier)
    if drafts is None:
        return ConfirmedDrafts(drafts=0, confirmed=0, lost=0, prompts=len(part))
    is_confirmed_n = _score(judge.calibration, drafts) >= high
    lost_n = drafts.right_instead_n.astype(int) - drafts.right_n
    return ConfirmedDrafts(
        drafts=len(is_confirmed_n),
        confirmed=int(is_confirmed_n.sum()),
        lost=int(lost_n[is_confirmed_n].sum()),
        prompts=len(part),
    )


def suggested_low(cascade: CalibratedCascade, part: Pool) -> float:
    """The score below which the drafts of all tiers together are not worth reading; 0 for none."""
    served = cascade.replay(part).serve(cascade.thresholds)
    scores, kept_shares, tokens = [], [], []
    for tier in range(1, len(part.tiers)):
        kept_N = part.tiers[tier].kept_N
        if kept_N is None:
            continue
        rows_n = np.flatnonzero(served.reached_NT[:, tier] & np.isfinite(kept_N))
        # An attempt that was ended early says its chance of acceptance, which is next to nothing.
        ended_n = served.ended_NT[rows_n, tier - 1]
        scores.append(np.where(ended_n, 0.0, served.score_NT[rows_n, tier - 1]))
        kept_shares.append(kept_N[rows_n])
        tokens.append(part.tiers[tier - 1].tokens()[rows_n])
    if not scores:
        return 0.0
    score_n, kept_n, tokens_n = (np.concatenate(parts) for parts in (scores, kept_shares, tokens))
    low = 0.0
    for level in _LOWS:
        below_n = score_n < level
        if not below_n.any():
            continue
        if np.average(kept_n[below_n], weights=tokens_n[below_n]) >= LEAST_KEPT:
            break
        low = float(level)
    return round(low, 2)


def _drafts(
    cascade: CalibratedCascade, part: Pool, tier: int, *, is_fit: bool = False
) -> _Drafts | None:
    features_NF = part.tiers[tier].draft_NF
    if features_NF is None:
        return None
    replay = cascade.replay_fitted(part) if is_fit else cascade.replay(part)
    served = replay.serve(cascade.thresholds)
    known_NJ = replay.known_scores(cascade.thresholds)[:, :tier]
    is_whole_N = served.reached_NT[:, tier] & ~served.ended_NT[:, tier - 1]
    rows_n = np.flatnonzero(is_whole_N & np.isfinite(features_NF).all(1))
    return _Drafts(
        rows_n,
        features_NF[rows_n],
        known_NJ[rows_n],
        part.tiers[tier - 1].right_N[rows_n],
        served.right_N[rows_n],
    )


def _score(calibration: Calibration, drafts: _Drafts) -> FloatArray:
    answers = TierAnswers(features_NF=drafts.features_nF, prefix_NF={}, right_N=drafts.right_n)
    return sigmoid(TierReplay(calibration, answers, None).log_odds(drafts.known_nJ))


def _high(score_n: FloatArray, drafts: _Drafts, prompts: int) -> float | None:
    """The least score from which on, and from any higher one, no more than allowed is lost."""
    order_n = np.argsort(-score_n, kind="stable")
    lost_n = np.cumsum(drafts.right_instead_n[order_n].astype(int) - drafts.right_n[order_n])
    allowed_n = (np.maximum.accumulate(lost_n) <= MOST_LOST * prompts) & (
        score_n[order_n] >= _LEAST_HIGH
    )
    count = int(np.argmin(allowed_n)) if not allowed_n.all() else len(allowed_n)
    # Equal scores are confirmed together.
    while 0 < count < len(order_n) and score_n[order_n[count]] == score_n[order_n[count - 1]]:
        count -= 1
    return float(score_n[order_n[count - 1]]) if count else None
