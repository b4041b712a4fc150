"""What a sample can promise at best, before any of its answers is known.

Every bound counts the prompts of the certifying part alone. The best case is that one tier accepts
all of them and is right, and that the cascade loses none. The exact bound of no event in so many
trials then is the least: (1 - bound)^prompts = error.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascadia_sglang.binomial_bounds import least_trials, upper_bound
from cascadia_sglang.calibration.fit.certify import CONFIDENCE, least_accepted
from cascadia_sglang.calibration.fit.counts import Counts
from cascadia_sglang.calibration.fit.split import PARTS, part_of
from cascadia_sglang.calibration.fit.thresholds import Target

_ERROR = 1.0 - CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPromise:
    """The best that a certifying part of so many prompts can show.

    Attributes:
        risk: least bound on the share of wrong answers among those that a tier accepts; None where
            so few prompts promise nothing, or no tier is judged.
        loss: least bound on the loss beside the last tier, for a cascade that is right nowhere
            where the last tier is wrong.
        quality: largest bound on the share of right answers.
    """

    prompts: int
    risk: float | None
    loss: float
    quality: float


def best_promise(prompts: int, judged_tiers: int) -> BestPromise:
    """What so many certifying prompts can show.

    Args:
        judged_tiers: that share the error of the risks: every tier but the last.
    """
    best = _best_counts(prompts)
    error = _ERROR / max(judged_tiers, 1)
    can_promise = judged_tiers > 0 and prompts >= least_accepted(error)
    return BestPromise(
        prompts=prompts,
        risk=upper_bound(0, prompts, error) if can_promise else None,
        loss=best.loss_high(_ERROR),
        quality=best.quality_low(_ERROR),
    )


def least_prompts(target: Target) -> int | None:
    """Certifying prompts that can show a quality or a loss at best; None where none can.

    A loss counts as in `BestPromise`. Other targets are budgets, which need no prompt.
    """
    if target.kind not in ("quality", "loss"):
        return 0
    return least_trials(lambda prompts: target.is_shown(_best_counts(prompts), _ERROR))


def prospect(prompt_keys: Sequence[str], judged_tiers: int, target: Target) -> Iterator[str]:
    """What these labelled prompts can promise, in sentences for whoever starts a calibration."""
    counts = {name: sum(part_of(key) == name for key in prompt_keys) for name in PARTS}
    certifying = counts["certify"]
    best = best_promise(certifying, judged_tiers)
    listed = ", ".join(f"{count} to {name}" for name, count in counts.items())
    yield f"{len(prompt_keys)} labelled prompts: {listed}"
    limits = [] if best.risk is None else [f"no risk below {_down(best.risk)}"]
    if judged_tiers:
        limits.append(f"no loss below {_down(best.loss)}, unless answers are gained")
    limits.append(f"no quality above {_up(best.quality)}")
    yield f"with {certifying} to certify, at best: {'; '.join(limits)}"
    needed = least_prompts(target)
    if needed is not None and needed > certifying and (judged_tiers or target.kind == "quality"):
        more = len(PARTS) * (needed - certifying)
        yield (
            f"target {target.kind} {target.value:g}: even the best case needs {needed} to certify: "
            f"about {more:,} more labelled prompts"
        )
    elif needed is None:
        yield f"target {target.kind} {target.value:g}: no number of prompts can show it"


def _best_counts(prompts: int) -> Counts:
    return Counts(prompts=prompts, right=prompts, lost=0, gained=0)


def _down(share: float) -> str:
    return f"{math.floor(1e4 * share) / 100:g} %"


def _up(share: float) -> str:
    return f"{math.ceil(1e4 * share) / 100:g} %"
