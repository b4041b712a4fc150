"""Bounds for fixed scores and thresholds, from answers that shaped neither.

Two promises, each with 95 % confidence over the draw of the certifying part, under one assumption:
its prompts are independent draws from what will be asked.

1. Of every tier below the last: the share of wrong answers among those it accepts is at most
   `risk_high`. One-sided Clopper-Pearson (1934, Biometrika 26) given the number accepted; the error
   is shared equally between the tiers, so that all hold at once.
2. Of the cascade: its accuracy is at most `loss_high` below the last tier's on the same prompts.
   Half of the error goes to the share of prompts that the cascade loses (an upper bound), half to
   the share that it gains (a lower bound); their difference bounds the loss.

The rule that accepts is fixed before these answers are looked at, so ties and the choice of
thresholds on other prompts do not touch the bounds. A tier with too few accepted answers to show a
risk of `PROMISE`, even were all of them right, promises nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.binomial_bounds import lower_bound, upper_bound
from cascadia_sglang.calibration.fit.replay import ServedPool

CONFIDENCE = 0.95
PROMISE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskBound:
    """The promise of one tier.

    Attributes:
        accepted: answers it accepts, of the certifying part.
        wrong: of those.
        risk_high: bound on the share of wrong answers among the accepted; None where too few were
            accepted to promise anything.
        needed: accepted answers, at least, for a promise.
    """

    tier_index: int
    accepted: int
    wrong: int
    risk_high: float | None
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossBound:
    """The promise of the cascade beside its last tier.

    Attributes:
        prompts: of the certifying part.
        lost, gained: prompts that the last tier alone answers right, that the cascade alone does.
        loss_high: bound on the last tier's accuracy less the cascade's; None where there are too
            few prompts to promise anything.
    """

    prompts: int
    lost: int
    gained: int
    loss_high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityCertificate:
    """All promises of a calibrated cascade."""

    confidence: float
    risks: tuple[RiskBound, ...]
    loss: LossBound


def certify(served: ServedPool, confidence: float = CONFIDENCE) -> QualityCertificate:
    """The promises that the certifying part allows."""
    error = 1.0 - confidence
    tiers = served.score_NT.shape[1]
    needed = least_accepted(error / max(tiers, 1))
    risks = []
    for tier in range(tiers):
        right = served.right_N[served.answered_by_N == tier]
        accepted, wrong = len(right), int((~right).sum())
        bound = upper_bound(wrong, accepted, error / tiers) if accepted >= needed else None
        risks.append(
            RiskBound(
                tier_index=tier, accepted=accepted, wrong=wrong, risk_high=bound, needed=needed
            )
        )
    return QualityCertificate(confidence=confidence, risks=tuple(risks), loss=_loss(served, error))


def _loss(served: ServedPool, error: float) -> LossBound:
    prompts = len(served.right_N)
    lost = int((served.last_right_N & ~served.right_N).sum())
    gained = int((served.right_N & ~served.last_right_N).sum())
    loss_high = None
    if prompts >= least_accepted(error / 2):
        loss_high = upper_bound(lost, prompts, error / 2) - lower_bound(gained, prompts, error / 2)
    return LossBound(prompts=prompts, lost=lost, gained=gained, loss_high=loss_high)


def least_accepted(error: float) -> int:
    """Answers that show a risk of at most `PROMISE` when all are right."""
    return int(np.ceil(np.log(error) / np.log(1.0 - PROMISE)))


def promises(certificate: QualityCertificate, tier_names: Sequence[str]) -> list[str]:
    """The certificate in sentences."""
    percent = f"{100 * certificate.confidence:g} %"
    together = " for all tiers at once" if len(certificate.risks) > 1 else ""
    lines = []
    for bound in certificate.risks:
        name = tier_names[bound.tier_index]
        if bound.risk_high is None:
            lines.append(
                f"{name}: no promise; {bound.accepted} accepted answers, {bound.needed} needed"
            )
        else:
            lines.append(
                f"{name}: at most {bound.risk_high:.4f} of the accepted answers are wrong "
                f"({bound.wrong} of {bound.accepted} were), with {percent} confidence{together}"
            )
    loss = certificate.loss
    if loss.loss_high is None:
        lines.append(f"cascade: no promise beside the last tier; {loss.prompts} prompts")
    else:
        lines.append(
            f"cascade: accuracy at most {loss.loss_high:.4f} below the last tier's "
            f"({loss.lost} lost, {loss.gained} gained of {loss.prompts}), with {percent} confidence"
        )
    return lines
