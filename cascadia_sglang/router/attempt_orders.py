"""The order of an attempt to a worker: threshold, early end, draft."""

from collections.abc import Sequence
from typing import NamedTuple

from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.poison_requests import Assignment
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.route import Route
from cascadia_sglang.router.services import Services


class DraftOffer(NamedTuple):
    """What an attempt is given to read.

    Attributes:
        token_ids: of the draft; empty for none.
        confirm_at: as `AttemptOrder` has it.
    """

    token_ids: tuple[int, ...] = ()
    confirm_at: float | None = None


def order_for(
    assignment: Assignment,
    route: Route,
    prompt: RequestPrompt,
    attempts: Sequence[Attempt],
    services: Services,
    *,
    draft: DraftOffer,
    may_commit: bool,
    is_warming: bool,
    is_retry: bool,
) -> AttemptOrder:
    """The order of the attempt of this assignment.

    Args:
        attempts: that the prompt took so far.
        draft: that the attempt is given to read.
        may_commit: whether the answer leaves once the judge commits to it.
        is_warming: whether the next tier is warmed meanwhile.
        is_retry: whether an attempt of the prompt was lost.
    """
    tier_index, routing, scores = assignment.tier_index, prompt.config.routing, services.scores
    threshold = threshold_of(tier_index, prompt, scores)
    is_final = tier_index == route.tiers[-1] or tier_index not in route.judged
    # Samples of one prompt are judged together, so none of them is ended alone; and nothing
    # is hopeless at threshold 0.
    is_single = len(prompt.samples) == 1
    may_end = not is_final and is_single and threshold > 0.0
    return AttemptOrder(
        tier_index=tier_index,
        threshold=threshold,
        early_abort=routing.early_abort if may_end else None,
        earlier_scores=_earlier_scores(tier_index, attempts),
        commit_tokens=routing.commit_tokens if may_commit else None,
        commit_chance=routing.commit_chance,
        # Where outputs continue one another, a buffered answer is better had in one piece.
        tells_chance=is_warming and may_end and not services.engine.is_incremental,
        draft=draft.token_ids,
        confirm_at=draft.confirm_at,
        worker_id=assignment.worker_id,
        is_retry=is_retry,
        calibration=scores.source(tier_index).calibration,
        record=prompt.config.judge.record,
    )


def threshold_of(tier_index: int, prompt: RequestPrompt, scores: TierScoring) -> float:
    """The score from which a tier's answer to a prompt is accepted, as its attempt begins."""
    client_threshold = prompt.controls.threshold
    if client_threshold is not None and not scores.is_ranked(tier_index):
        return client_threshold
    fixed = prompt.config.routing.thresholds
    if fixed:
        return fixed[tier_index] if tier_index < len(fixed) else 0.0
    return scores.threshold(tier_index) or 0.0


def _earlier_scores(tier_index: int, attempts: Sequence[Attempt]) -> tuple[float | None, ...]:
    """Final scores of the tiers below; None where there is none."""
    # Calibrations know calibrated scores of finished answers: neither a chance of acceptance nor a
    # rank is one.
    score_by_tier = {a.tier_index: a.score for a in attempts if not a.early_abort and a.calibrated}
    return tuple(score_by_tier.get(tier) for tier in range(tier_index))


async def draft_for(
    tier_index: int, prompt: RequestPrompt, attempts: Sequence[Attempt], services: Services
) -> DraftOffer:
    """A draft in the tier's own tokens, if the tier is to use one.

    It is the answer of the last tier below, else the client's prediction.
    """
    engine = services.engine
    if len(prompt.samples) > 1 or not services.drafts.is_on:
        return DraftOffer()
    if not engine.takes_draft(prompt.sample, tier_index):
        return DraftOffer()
    written = [a for a in attempts if a.outputs and a.tier_index < tier_index]
    prediction = prompt.controls.prediction
    score: float | None = None
    if written:
        # The least score of a draft is a chance, and a rank is none.
        score = None if written[-1].calibrated is False else written[-1].score
    elif not prediction:
        return DraftOffer()
    break_even = engine.draft_break_even(tier_index)
    if not services.drafts.is_worth_reading(tier_index, score, break_even):
        return DraftOffer()
    if not written:
        return DraftOffer(tuple(await engine.token_ids(prediction or "", tier_index)))
    last = written[-1]
    token_ids = last.outputs[0].get("output_ids") or ()
    read = await engine.translated(token_ids, last.tier_index, tier_index)
    # Drafts of a tier further below are others than those that the second judge was fitted on. And
    # the answer that it lets out must be the one that was judged.
    is_known = last.tier_index == tier_index - 1 and read.is_exact
    return DraftOffer(read.token_ids, _confirm_at(tier_index, prompt) if is_known else None)


def _confirm_at(tier_index: int, prompt: RequestPrompt) -> float | None:
    """A client's own threshold holds for drafts too, where it is the higher one."""
    high = prompt.config.drafts().second_judge
    if high is None or prompt.config.tiers[tier_index].draft_calibration is None:
        return None
    client_threshold = prompt.controls.threshold
    return high if client_threshold is None else max(high, client_threshold)
