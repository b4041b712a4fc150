"""Whether a calibration reached its target, on the held-out part of the sample.

A quality or a loss is a promise: it is reached where a one-sided bound with 95 % confidence keeps
to it. An escalation rate or a cost is a budget: it is reached unless the part refutes it, with the
same confidence.
"""

import math
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.binomial_bounds import least_trials, lower_bound
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade
from cascadia_sglang.calibration.fit.certify import CONFIDENCE
from cascadia_sglang.calibration.fit.counts import Counts
from cascadia_sglang.calibration.fit.split import PARTS
from cascadia_sglang.calibration.fit.thresholds import SURE_ERROR, Target, ThresholdResult

ERROR = 1.0 - CONFIDENCE
_DEVIATIONS = 1.645  # of a normal mean, one-sidedly with 95 % confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeVerdict:
    """What the held-out part says of the target.

    Attributes:
        target: what was asked.
        bound: a lower bound on the quality, an upper one on the loss, or what is the least
            plausible of a budget.
        more: labelled prompts that are needed besides these, about; None where the target is
            reached, or no larger sample is expected to show it.
    """

    target: Target
    is_reached: bool
    bound: float
    more: int | None

    def line(self) -> str:
        """For whoever asked."""
        target = _WORDS[self.target.kind].format(self.target.value)
        if self.target.kind in ("quality", "loss"):
            what = f"this sample shows {_WORDS[self.target.kind].format(self.bound)}"
            if self.is_reached:
                return f"target {target}: shown; {what}"
            if self.more is not None:
                needed = f": about {self.more:,} more are needed"
            else:
                needed = "; more prompts like these are not expected to show it"
            return f"target {target}: not shown with this sample{needed}; {what}"
        if self.is_reached:
            return f"target {target}: kept on the prompts held out"
        return (
            f"target {target}: not kept on the prompts held out: {self.bound:.4g} or more, "
            "with 95 % confidence"
        )


_WORDS = {
    "quality": "quality at least {:.4g}",
    "loss": "loss at most {:.4g}",
    "escalation_rate": "escalation rate at most {:.4g}",
    "cost": "cost at most {:.4g}",
}


def verdict(cascade: CalibratedCascade) -> CascadeVerdict:
    """Look whether the held-out part keeps to the target."""
    target, held_out = cascade.settings.target, cascade.held_out
    if target.kind == "quality":
        bound = held_out.counts.quality_low(ERROR)
    elif target.kind == "loss":
        # A cascade of one tier is its own last one.
        bound = held_out.counts.loss_high(ERROR) if cascade.thresholds else 0.0
    else:
        bound = _least_spent(held_out, cascade.settings.tier_cost, target)
    is_promise = target.kind in ("quality", "loss")
    is_reached = bound >= target.value if target.kind == "quality" else bound <= target.value
    more = _more(cascade) if is_promise and not is_reached else None
    return CascadeVerdict(target=target, is_reached=is_reached, bound=bound, more=more)


def _least_spent(outcome: ThresholdResult, tier_cost: tuple[float, ...], target: Target) -> float:
    """The least share at the last tier, or mean cost, that leaves the outcome plausible."""
    prompts, shares = outcome.prompts, np.array(outcome.shares)
    if target.kind == "escalation_rate":
        return lower_bound(round(outcome.shares[-1] * prompts), prompts, ERROR)
    # Prompts that end at each tier, and what those have cost.
    ending_T = shares - np.append(shares[1:], 0.0)
    variance = float(ending_T @ (np.cumsum(tier_cost) - outcome.cost) ** 2)
    return outcome.cost - _DEVIATIONS * math.sqrt(max(variance, 0.0) / prompts)


def _more(cascade: CalibratedCascade) -> int | None:
    """Labelled prompts that are needed besides the sample's for its parts to show the target."""
    target, chosen, held_out = cascade.settings.target, cascade.chosen, cascade.held_out
    if target.is_expected(chosen):
        # The sample is large enough to choose by, and the held-out part fell short by chance.
        counts, error = chosen.counts + held_out.counts, ERROR
    else:
        # It is too small to choose by. The surest thresholds leave everything to the last tier.
        last_right = chosen.counts.right + chosen.lost - chosen.gained
        counts = Counts(prompts=chosen.prompts, right=last_right, lost=0, gained=0)
        error = SURE_ERROR
    needed = least_trials(lambda trials: target.is_shown(counts.scaled(trials), error))
    prompts = min(chosen.prompts, held_out.prompts)
    return None if needed is None else len(PARTS) * max(1, needed - prompts)
