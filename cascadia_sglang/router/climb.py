"""How a prompt climbs the tiers until an answer is good enough."""

import asyncio
import time
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import RequestError, WorkerError
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.active import ActiveRequest
from cascadia_sglang.router.attempt import Attempt, Engine, finished_attempt
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.gather import all_or_none
from cascadia_sglang.router.policy import Finding, Verdict, decide
from cascadia_sglang.router.route import Route, find_route, room_tokens


class Climb:
    """One prompt on its way: its samples, and the attempts that it took so far."""

    def __init__(
        self,
        samples: list[Any],
        active: ActiveRequest,
        config: CascadeConfig,
        engine: Engine,
        entry: EntryScorer | None = None,
    ) -> None:
        self.attempts: list[Attempt] = []
        self._samples = samples
        self._active = active
        self._config = config
        self._engine = engine
        self._entry = entry

    async def run(self) -> Attempt:
        """Go from tier to tier; the attempt whose outputs are the answer.

        Raises:
            RequestError: where no answer may go out.
        """
        active = self._active
        route = await find_route(
            self._samples, active.controls, self._config, self._engine, self._entry
        )
        self.attempts.extend(route.skipped)
        for tier_index in route.tiers:
            self._check_wanted()
            if self._tried() >= self._config.routing.max_attempts:
                return self._degraded(503, "max_attempts reached")
            order = self._order(tier_index, route)
            try:
                attempt = await self._attempt(order)
            except TimeoutError:
                if active.given_up is not None:
                    raise active.given_up from None
                self.attempts.append(Attempt(tier_index=tier_index, reason="deadline"))
                return self._degraded(504, "deadline passed")
            except WorkerError:
                self.attempts.append(Attempt(tier_index=tier_index, reason="tier_unavailable"))
                continue
            self.attempts.append(attempt)
            if self._is_final(attempt, order, route):
                return attempt
        return self._degraded(503, "no tier is available")

    def _check_wanted(self) -> None:
        if self._active.given_up is not None:
            raise self._active.given_up
        if self._active.aborted:
            raise RequestError(400, "the request was aborted")

    def _tried(self) -> int:
        return sum(attempt.reason != "too_long" for attempt in self.attempts)

    def _is_final(self, attempt: Attempt, order: AttemptOrder, route: Route) -> bool:
        if self._active.aborted or attempt.ended_by_engine():
            attempt.reason = "aborted"
            return True
        attempt.judge_failed = self._judge_failed(attempt)
        finding = Finding(
            score=attempt.score,
            early_abort=attempt.early_abort,
            judged=order.tier_index in route.judged,
            pinned=route.pinned,
            last=order.tier_index == route.tiers[-1],
            uncut_score=attempt.uncut_score,
            next_has_room=self._next_has_room(attempt, route),
        )
        verdict, attempt.reason = decide(finding, order.threshold, self._config.judge.on_error)
        attempt.escalated = verdict is Verdict.ESCALATE
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
            and self._config.tiers[tier_index].calibration is not None
            and self._engine.is_judgeable(self._samples[0], tier_index)
        )

    async def _attempt(self, order: AttemptOrder) -> Attempt:
        active = self._active
        started = time.monotonic()
        async with asyncio.timeout_at(active.deadline) as scope:
            active.scopes.add(scope)
            try:
                runs = [self._run(sample, order) for sample in self._samples]
                results = [await runs[0]] if len(runs) == 1 else await all_or_none(runs)
            finally:
                active.scopes.discard(scope)
        return finished_attempt(order.tier_index, results, started)

    async def _run(self, sample: Any, order: AttemptOrder) -> Any:
        active = self._active
        rid = active.next_rid()
        active.rids.add(rid)
        active.outcome.attempts += 1
        try:
            return await self._engine.run(sample, rid, order)
        finally:
            active.rids.discard(rid)

    def _order(self, tier_index: int, route: Route) -> AttemptOrder:
        threshold = threshold_of(tier_index, self._active.controls, self._config)
        is_final = tier_index == route.tiers[-1] or tier_index not in route.judged
        # Samples of one prompt are judged together, so none of them is ended alone; and nothing
        # is hopeless at threshold 0.
        may_end = not is_final and len(self._samples) == 1 and threshold > 0.0
        return AttemptOrder(
            tier_index=tier_index,
            threshold=threshold,
            early_abort=self._config.routing.early_abort if may_end else None,
            earlier_scores=self._earlier_scores(tier_index),
        )

    def _earlier_scores(self, tier_index: int) -> tuple[float | None, ...]:
        """Final scores of the tiers below; None where there is none."""
        # A chance of acceptance is no score: calibrations know scores of finished answers.
        known = {a.tier_index: a.score for a in self.attempts if not a.early_abort}
        return tuple(known.get(tier) for tier in range(tier_index))

    def _degraded(self, status: int, reason: str) -> Attempt:
        """The best complete answer, where the request allows one that was not accepted."""
        allowed = self._active.controls.allow_degraded
        if allowed is None:
            allowed = self._config.routing.allow_degraded
        complete = [
            a for a in self.attempts if a.outputs and not a.early_abort and a.score is not None
        ]
        if allowed and complete:
            best = max(complete, key=lambda attempt: attempt.score or 0.0)
            best.reason = "degraded"
            return best
        raise RequestError(status, f"{reason}; no accepted answer")


def threshold_of(tier_index: int, controls: Controls, config: CascadeConfig) -> float:
    """The score from which a tier's answer is accepted."""
    if controls.threshold is not None:
        return controls.threshold
    thresholds = config.routing.thresholds
    return thresholds[tier_index] if tier_index < len(thresholds) else 0.0
