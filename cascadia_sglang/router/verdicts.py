"""Whether a finished attempt's answer goes out, and what the tiers' scores learn from it."""

from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.active import ActiveRequest
from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.router.policy import Finding, Verdict, decide
from cascadia_sglang.router.route import Route, room_tokens
from cascadia_sglang.router.scores import TierScores


class Verdicts:
    """Of one prompt's attempts."""

    def __init__(
        self,
        samples: list[Any],
        active: ActiveRequest,
        config: CascadeConfig,
        engine: Engine,
        scores: TierScores,
    ) -> None:
        self._samples = samples
        self._active = active
        self._config = config
        self._engine = engine
        self._scores = scores

    def is_final(
        self, attempt: Attempt, order: AttemptOrder, route: Route, *, visible: bool
    ) -> bool:
        """Decide on an attempt, and note on it why.

        Args:
            visible: whether the client has seen some of the answer.
        """
        if attempt.score is not None:
            attempt.calibrated = attempt.confirmed or self._scores.is_calibrated(order)
        if self._active.aborted or attempt.ended_by_engine():
            attempt.reason = "aborted"
            return True
        attempt.judge_failed = self._judge_failed(attempt)
        is_last = order.tier_index == route.tiers[-1]
        judged = order.tier_index in route.judged
        finding = Finding(
            score=attempt.score,
            early_abort=attempt.early_abort,
            judged=judged,
            pinned=route.pinned,
            scoring=route.scoring,
            last=is_last,
            verified=attempt.kept == len(order.draft) == attempt.longest,
            confirmed=attempt.confirmed,
            visible=visible,
            uncut_score=attempt.uncut_score,
            next_has_room=self._next_has_room(attempt, route),
        )
        # Of other requests, and of answers that a draft's second judge rated, no tier learns.
        counts = judged and not is_last and not attempt.confirmed
        counts = counts and self._active.controls.is_own_way
        threshold = order.threshold
        if counts and not attempt.early_abort:
            threshold = self._scores.threshold_for(order, attempt.score)
        verdict, attempt.reason = decide(finding, threshold, self._config.judge.on_error)
        attempt.escalated = verdict is Verdict.ESCALATE
        if counts:
            self._scores.note(
                order.tier_index,
                attempt.score,
                climbed=attempt.escalated,
                early_abort=attempt.early_abort,
                calibration=order.calibration,
            )
        return verdict is Verdict.ACCEPT

    def _next_has_room(self, attempt: Attempt, route: Route) -> bool:
        later = [tier for tier in route.tiers if tier > attempt.tier_index]
        if attempt.uncut_score is None or not later:
            return True
        sample, config = self._samples[0], self._config
        room = room_tokens(later[0], route.prompt_tokens, sample, config, self._engine)
        return room > attempt.longest

    def _judge_failed(self, attempt: Attempt) -> bool:
        """Whether there is no score although a judge should have given one."""
        tier_index = attempt.tier_index
        return (
            attempt.score is None
            and not attempt.early_abort
            and self._scores.is_judged(tier_index)
            and self._engine.is_judgeable(self._samples[0], tier_index)
        )
