"""What a worker is told with an attempt of a climb."""

from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.drafts import Offer, draft_for
from cascadia_sglang.router.route import Route
from cascadia_sglang.router.scores import TierScores
from cascadia_sglang.router.suspects import Place
from cascadia_sglang.verify.worth import DraftWorth


def order_for(
    place: Place,
    route: Route,
    samples: list[Any],
    attempts: list[Attempt],
    controls: Controls,
    config: CascadeConfig,
    engine: Engine,
    scores: TierScores,
    *,
    worth: DraftWorth | None,
    may_commit: bool,
    is_warming: bool,
    is_retry: bool,
) -> AttemptOrder:
    """The order of the attempt at this place.

    Args:
        attempts: that the prompt took so far.
        may_commit: whether the answer leaves once the judge commits to it.
        is_warming: whether the next tier is warmed meanwhile.
        is_retry: whether an attempt of the prompt was lost.
    """
    tier_index = place.tier_index
    threshold = threshold_of(tier_index, controls, config, scores)
    is_final = tier_index == route.tiers[-1] or tier_index not in route.judged
    # Samples of one prompt are judged together, so none of them is ended alone; and nothing
    # is hopeless at threshold 0.
    is_single = len(samples) == 1
    may_end = not is_final and is_single and threshold > 0.0
    offer = Offer()
    # Should a worker have been lost over the draft, the next one is spared it.
    if is_single and not is_retry:
        offer = draft_for(tier_index, samples[0], attempts, engine, worth, config, controls)
    return AttemptOrder(
        tier_index=tier_index,
        threshold=threshold,
        early_abort=config.routing.early_abort if may_end else None,
        earlier_scores=_earlier_scores(tier_index, attempts),
        commit_tokens=config.routing.commit_tokens if may_commit else None,
        commit_chance=config.routing.commit_chance,
        # Where outputs continue one another, a buffered answer is better had in one piece.
        tells_chance=is_warming and may_end and not engine.is_incremental,
        draft=offer.token_ids,
        confirm_at=offer.confirm_at,
        worker_id=place.worker_id,
        is_retry=is_retry,
        calibration=scores.source(tier_index).calibration,
        record=config.judge.record,
    )


def threshold_of(
    tier_index: int, controls: Controls, config: CascadeConfig, scores: TierScores
) -> float:
    """The score from which a tier's answer to a request is accepted, as its attempt begins.

    Args:
        config: that the request began with; fixed thresholds are its.
    """
    if controls.threshold is not None and not scores.is_ranked(tier_index):
        return controls.threshold
    thresholds = config.routing.thresholds
    if thresholds:
        return thresholds[tier_index] if tier_index < len(thresholds) else 0.0
    return scores.threshold(tier_index) or 0.0


def _earlier_scores(tier_index: int, attempts: list[Attempt]) -> tuple[float | None, ...]:
    """Final scores of the tiers below; None where there is none."""
    # Calibrations know calibrated scores of finished answers: neither a chance of acceptance nor a
    # rank is one.
    known = {a.tier_index: a.score for a in attempts if not a.early_abort and a.calibrated}
    return tuple(known.get(tier) for tier in range(tier_index))
