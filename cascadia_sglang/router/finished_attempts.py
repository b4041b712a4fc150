"""Which answer goes out: an attempt that is final, or in the end the best that there is."""

from collections.abc import Iterable

from cascadia_sglang.errors import RequestError
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.accept_or_escalate import Finding, Verdict, decide
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.engine_protocol import Engine
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.route import Route, room_tokens
from cascadia_sglang.router.services import Services


def is_final(
    attempt: Attempt,
    order: AttemptOrder,
    route: Route,
    prompt: RequestPrompt,
    services: Services,
    *,
    is_visible: bool,
    next_has_room: bool,
) -> bool:
    """Decide whether an attempt is the answer; note on it why, and let the tier's scores learn.

    Args:
        is_visible: whether the client has seen some of the answer.
        next_has_room: as the function of this name gives it.
    """
    scores = services.scores
    if attempt.score is not None:
        attempt.calibrated = attempt.confirmed or scores.is_calibrated(order)
    if prompt.request.aborted or attempt.ended_by_engine():
        attempt.reason = "aborted"
        return True
    attempt.judge_failed = _judge_failed(attempt, prompt, services)
    is_last = order.tier_index == route.tiers[-1]
    judged = order.tier_index in route.judged
    finding = Finding(
        score=attempt.score,
        early_abort=attempt.early_abort,
        judged=judged,
        pinned=route.pinned,
        scoring=route.scoring,
        last=is_last,
        verified=attempt.kept_tokens == len(order.draft) == attempt.longest,
        confirmed=attempt.confirmed,
        visible=is_visible,
        uncut_score=attempt.uncut_score,
        next_has_room=next_has_room,
    )
    # Of other requests, and of answers that a draft's second judge rated, no tier learns.
    is_learned = judged and not is_last and not attempt.confirmed and prompt.is_own_way
    threshold = order.threshold
    if is_learned and not attempt.early_abort:
        threshold = scores.threshold_for(order, attempt.score)
    verdict, attempt.reason = decide(finding, threshold, prompt.config.judge.on_error)
    attempt.escalated = verdict is Verdict.ESCALATE
    if is_learned:
        scores.note(
            order.tier_index,
            attempt.score,
            climbed=attempt.escalated,
            early_abort=attempt.early_abort,
            calibration=order.calibration,
        )
    return verdict is Verdict.ACCEPT


async def next_has_room(
    attempt: Attempt, route: Route, prompt: RequestPrompt, engine: Engine
) -> bool:
    """Whether the next tier may write more than a cut-off answer has, in its own tokens."""
    next_tier = route.tier_after(attempt.tier_index)
    if attempt.uncut_score is None or next_tier is None:
        return True
    longest = attempt.longest
    if not engine.shares_tokens(attempt.tier_index, next_tier):
        longest = 0
        for output in attempt.outputs:
            ids = output.get("output_ids") or ()
            read = await engine.translated(ids, attempt.tier_index, next_tier)
            longest = max(longest, len(read.token_ids))
    return room_tokens(next_tier, prompt, engine) > longest


def _judge_failed(attempt: Attempt, prompt: RequestPrompt, services: Services) -> bool:
    """Whether there is no score although a judge should have given one."""
    tier_index = attempt.tier_index
    return (
        attempt.score is None
        and not attempt.early_abort
        and services.scores.is_judged(tier_index)
        and services.engine.is_judgeable(prompt.sample, tier_index)
    )


def best_complete(attempts: Iterable[Attempt]) -> Attempt | None:
    """The finished answer with the best score; None without one.

    Ranks of different tiers do not compare: with one among them, the largest tier's answer.
    """
    complete = [a for a in attempts if _is_complete(a) and a.score is not None]
    if any(attempt.calibrated is False for attempt in complete):
        return max(complete, key=lambda attempt: attempt.tier_index)
    return max(complete, key=lambda attempt: attempt.score or 0.0, default=None)


def last_complete(attempts: Iterable[Attempt]) -> Attempt | None:
    """The finished answer of the last attempt that has one; None without one."""
    return next((a for a in reversed(list(attempts)) if _is_complete(a)), None)


def best_of(attempts: Iterable[Attempt]) -> Attempt | None:
    """The answer to serve: a finished one by its score, one without, the longest that was cut off.

    One that was cut off says so: its finish reason becomes `length`.
    """
    attempts = list(attempts)
    best = best_complete(attempts)
    unrated = [a for a in attempts if _is_complete(a)]
    if best is not None or unrated:
        return best or unrated[-1]
    partial = [a for a in attempts if a.outputs and not _is_complete(a) and a.longest > 0]
    longest = max(partial, key=lambda attempt: attempt.longest, default=None)
    if longest is not None:
        for output in longest.outputs:
            meta = output["meta_info"]
            if (meta.get("finish_reason") or {}).get("type") == "abort":
                length = meta.get("completion_tokens", 0)
                meta["finish_reason"] = {"type": "length", "length": length}
    return longest


def _is_complete(attempt: Attempt) -> bool:
    return bool(attempt.outputs) and not attempt.early_abort and not attempt.is_cut


def cut_short(error: Exception) -> RequestError:
    """A stream that cannot be completed ends with an error; what was seen stays as it is."""
    if isinstance(error, TimeoutError):
        return RequestError(504, "deadline passed; the answer is incomplete")
    return RequestError(503, f"{error}; the answer is incomplete")
