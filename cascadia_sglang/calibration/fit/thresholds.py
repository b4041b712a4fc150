"""Chooses the thresholds of all tiers together, on answers that fitted nothing.

Every tier has a grid of quantiles of its scores of what reaches it. Up to two thresholds are
searched exhaustively; more by coordinate descent from the best points of a coarse grid, which may
end in a local optimum.

Shape legend: N prompts, T tiers.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.counts import Counts
from cascadia_sglang.calibration.fit.replay import CascadeReplay, ServedPool
from cascadia_sglang.errors import CalibrationError

GRID = 64  # thresholds a tier, at most
_DIGITS = 4
_EXHAUSTIVE = 2  # thresholds, at most
_COARSE = 1_000  # thresholds of all tiers together that a descent looks at first, about
_STARTS = 8
_SWEEPS = 20
# The error of a bound that shows a target with 95 % confidence on other prompts, as many, in four
# cases of five. Both parts vary: 1 - Phi(1.645 + 0.842 * sqrt(2)).
SURE_ERROR = 0.0023


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdResult:
    """What thresholds make of a sample.

    Attributes:
        quality: share of the prompts whose answer is acceptable.
        loss: quality of the last tier alone less `quality`, on the same prompts.
        loss_high95: upper end of its one-sided 95 % interval, normal over the pairs.
        shares: of the prompts that each tier sees.
        cost: mean over the prompts of the costs of the tiers they see.
        prompts: how many there are.
        lost, gained: prompts that the last tier alone answers right, that the cascade alone does.
    """

    thresholds: tuple[float, ...]
    quality: float
    loss: float
    loss_high95: float
    shares: tuple[float, ...]
    cost: float
    prompts: int
    lost: int
    gained: int

    @property
    def counts(self) -> Counts:
        """What bounds are made of."""
        right = round(self.quality * self.prompts)
        return Counts(prompts=self.prompts, right=right, lost=self.lost, gained=self.gained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked of the thresholds: one number of one kind.

    `quality`: the cheapest thresholds with at least this quality. `loss`: the cheapest whose
    quality is, with 95 % confidence, at most this much below the last tier's. `escalation_rate`:
    the best with at most this share at the last tier. `cost`: the best that cost no more.

    `prefers_shown`: among thresholds that meet a quality or a loss, those come first that other
    prompts, as many, are expected to show. Without it the cheapest are chosen, which stand right at
    the target: other prompts then show them in a few cases out of ten, however many there are.
    """

    kind: str
    value: float
    prefers_shown: bool = False

    def is_met(self, outcome: ThresholdResult) -> bool:
        """Whether thresholds do what is asked."""
        return self.shortfall(outcome) <= 1e-12

    def shortfall(self, outcome: ThresholdResult) -> float:
        """How far thresholds are from doing so; 0 or less where they do."""
        if self.kind == "quality":
            return self.value - outcome.quality
        if self.kind == "loss":
            return outcome.loss_high95 - self.value
        if self.kind == "escalation_rate":
            return outcome.shares[-1] - self.value
        return outcome.cost - self.value

    def rank(self, outcome: ThresholdResult) -> tuple[float, ...]:
        """What is least for the best thresholds: those that meet the target first, by the rest."""
        shortfall = self.shortfall(outcome)
        if not self.is_met(outcome):
            return (2.0, shortfall, outcome.cost)
        if self.kind in ("quality", "loss"):
            is_behind = self.prefers_shown and not self.is_expected(outcome)
            return (float(is_behind), outcome.cost, -outcome.quality)
        return (0.0, -outcome.quality, outcome.cost)

    def is_expected(self, outcome: ThresholdResult) -> bool:
        """Whether as many other prompts show a quality or a loss in about four cases of five."""
        return self.is_shown(outcome.counts, SURE_ERROR)

    def is_shown(self, counts: Counts, error: float) -> bool:
        """Whether a quality or a loss holds of all prompts, but for a chance of `error`."""
        if self.kind == "quality":
            return counts.quality_low(error) >= self.value
        return counts.loss_high(error) <= self.value


def choose(replay: CascadeReplay, tier_cost: Sequence[float], target: Target) -> ThresholdResult:
    """The best thresholds for a target, on the replay's prompts.

    Args:
        tier_cost: of one answer of each tier, in any unit.

    Raises:
        CalibrationError: if no thresholds of the grid meet the target; says how near they come.
    """
    evaluate = lambda thresholds: outcome_of(replay.serve(thresholds), thresholds, tier_cost)  # noqa: E731
    count = len(tier_cost) - 1
    if count <= _EXHAUSTIVE:
        best = _exhaustive(replay, count, evaluate, target)
    else:
        best = _descend(replay, count, evaluate, target)
    if not target.is_met(best):
        raise CalibrationError(
            f"no thresholds give {target.kind} {target.value:g} on this sample; the nearest, "
            f"{list(best.thresholds)}, have quality {best.quality:.4f}, loss {best.loss:.4f} "
            f"(at most {best.loss_high95:.4f}), {best.shares[-1]:.3f} of the prompts at the last "
            f"tier and cost {best.cost:.3g}"
        )
    return best


def outcome_of(
    served: ServedPool, thresholds: Sequence[float], tier_cost: Sequence[float]
) -> ThresholdResult:
    """Sum up what was served."""
    lost_N = served.last_right_N.astype(float) - served.right_N
    shares = served.reached_NT.mean(0)
    half = 1.645 * float(lost_N.std()) / max(len(lost_N), 1) ** 0.5
    return ThresholdResult(
        thresholds=tuple(thresholds),
        quality=float(served.right_N.mean()),
        loss=float(lost_N.mean()),
        loss_high95=float(lost_N.mean()) + half,
        shares=tuple(shares.tolist()),
        cost=float(shares @ np.asarray(tier_cost)),
        prompts=len(lost_N),
        lost=int((lost_N > 0).sum()),
        gained=int((lost_N < 0).sum()),
    )


def grid(score_N: FloatArray) -> list[float]:
    """Thresholds worth trying: quantiles of the scores, accepting all and accepting none.

    A threshold is rounded before it is tried, so that the one that was chosen is the one that is
    written down.
    """
    finite_N = score_N[np.isfinite(score_N)]
    probabilities = np.linspace(0, 1, GRID - 2)
    inner = np.quantile(finite_N, probabilities, method="inverted_cdf") if len(finite_N) else []
    return sorted({0.0, 1.0, *np.round(inner, _DIGITS).tolist()})


def tier_grid(replay: CascadeReplay, tier: int, before: tuple[float, ...]) -> list[float]:
    """The grid of a tier on the prompts that the thresholds before it pass on."""
    reached_N = replay.serve(before).reached_NT[:, -1]
    return grid(replay.tier_scores(tier, before).accepted_at_N[reached_N])


Evaluate = Callable[[tuple[float, ...]], ThresholdResult]


def _exhaustive(
    replay: CascadeReplay, count: int, evaluate: Evaluate, target: Target
) -> ThresholdResult:
    best = evaluate((1.0,) * count)
    for first in tier_grid(replay, 0, ()) if count else []:
        rest = [tier_grid(replay, 1, (first,))] if count > 1 else []
        tried = (evaluate((first, *other)) for other in itertools.product(*rest))
        best = _better(best, tried, target)
    return best


def _descend(
    replay: CascadeReplay, count: int, evaluate: Evaluate, target: Target
) -> ThresholdResult:
    coarse = round(_COARSE ** (1 / count))
    rows: list[tuple[float, ...]] = [()]
    for tier in range(count):
        points = np.linspace(0, 1, max(coarse, 2))
        rows = [
            (*head, grid[round(point * (len(grid) - 1))])
            for head in rows
            for grid in [tier_grid(replay, tier, head)]
            for point in points
        ]
    starts = sorted((evaluate(thresholds) for thresholds in rows), key=target.rank)[:_STARTS]
    return min((_settle(replay, start, evaluate, target) for start in starts), key=target.rank)


def _settle(
    replay: CascadeReplay, start: ThresholdResult, evaluate: Evaluate, target: Target
) -> ThresholdResult:
    """Move one threshold at a time to its best until none moves."""
    best = start
    for _ in range(_SWEEPS):
        before = best
        for tier in range(len(start.thresholds)):
            head, tail = best.thresholds[:tier], best.thresholds[tier + 1 :]
            tried = (evaluate((*head, h, *tail)) for h in tier_grid(replay, tier, head))
            best = _better(best, tried, target)
        if best is before:
            break
    return best


def _better(
    best: ThresholdResult, tried: Iterable[ThresholdResult], target: Target
) -> ThresholdResult:
    return min((best, *tried), key=target.rank)
