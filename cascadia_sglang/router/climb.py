"""How a prompt climbs the tiers until an answer is good enough."""

import dataclasses
from collections.abc import Callable
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import (
    AttemptMovedError,
    OverloadError,
    RequestError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Warmer, Warming
from cascadia_sglang.router.active import ActiveRequest
from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.router.controls import stream_mode, threshold_of
from cascadia_sglang.router.drafts import draft_for, learn
from cascadia_sglang.router.policy import Finding, Verdict, decide
from cascadia_sglang.router.pricing import EntryPrices
from cascadia_sglang.router.route import Entry, Route, find_route, room_tokens
from cascadia_sglang.router.runs import Runs
from cascadia_sglang.router.stream import Sink
from cascadia_sglang.router.warmth import warmed
from cascadia_sglang.verify.worth import DraftWorth


class Climb:
    """One prompt on its way: its samples, and the attempts that it took so far."""

    def __init__(
        self,
        samples: list[Any],
        active: ActiveRequest,
        config: CascadeConfig,
        engine: Engine,
        *,
        sink: Sink | None = None,
        entry: EntryScorer | None = None,
        prices: EntryPrices | None = None,
        warmer: Warmer | None = None,
        worth: DraftWorth | None = None,
        on_escalation: Callable[[list[Attempt]], None] | None = None,
    ) -> None:
        """Of `entry`, `prices`, `warmer` and `worth` the one that is None says nothing.

        `on_escalation` is shown the attempts so far whenever the prompt goes on.
        """
        self.attempts: list[Attempt] = []
        self._samples = samples
        self._active = active
        self._config = config
        self._engine = engine
        self._sink = sink
        self._runs = Runs(samples, active, engine, sink)
        self._entry = entry
        self._prices = prices
        self._warmer = warmer
        self._worth = worth
        self._on_escalation = on_escalation

    async def run(self) -> Attempt:
        """Go from tier to tier; the attempt whose outputs are the answer.

        Raises:
            RequestError: where no answer may go out.
        """
        active = self._active
        begin = self._begin()
        route = await find_route(self._samples, active.controls, self._config, self._engine, begin)
        mode = "buffered" if self._sink is None else stream_mode(active.controls, self._config)
        if mode == "direct":
            route = dataclasses.replace(route, judged=frozenset())
        elif mode == "commit" and self._is_sure(route):
            route = dataclasses.replace(route, judged=route.judged - {route.tiers[0]})
        self.attempts.extend(route.skipped)
        for tier_index in route.tiers:
            self._check_wanted()
            if self._tried() >= self._config.routing.max_attempts:
                return self._degraded(503, "max_attempts reached")
            with warmed(self._warmer, self._prompt(), tier_index, route) as warming:
                answer = await self._take(self._order(tier_index, route, warming), route, warming)
            if answer is not None:
                return answer
        return self._degraded(503, "no tier is available")

    async def _take(
        self, order: AttemptOrder, route: Route, warming: Warming | None
    ) -> Attempt | None:
        """Try a tier: what goes out, None where the prompt goes on."""
        active = self._active
        try:
            attempt = await self._visit(order, warming)
        except (TimeoutError, WorkerUnavailableError) as error:
            if self._runs.is_visible:
                raise active.given_up or _cut_short(error) from None
            if isinstance(error, WorkerUnavailableError):
                self.attempts.append(
                    Attempt(tier_index=order.tier_index, reason="tier_unavailable")
                )
                return None
            if active.given_up is not None:
                raise active.given_up from None
            self.attempts.append(Attempt(tier_index=order.tier_index, reason="deadline"))
            return self._degraded(504, "deadline passed")
        except OverloadError as error:
            self.attempts.append(Attempt(tier_index=order.tier_index, reason="overloaded"))
            return self._degraded(503, str(error))
        self.attempts.append(attempt)
        learn(self._worth, order.draft, attempt)
        if self._is_final(attempt, order, route):
            return attempt
        if warming is not None:
            warming.escalated = True
        if self._on_escalation is not None:
            self._on_escalation(self.attempts)
        return None

    def _prompt(self) -> Prompt | None:
        return self._engine.prompt(self._samples[0])

    def _begin(self) -> Entry | None:
        """What says where the climb begins; None for the first tier."""
        rule, prices, entry, engine = (
            self._config.routing.entry,
            self._prices,
            self._entry,
            self._engine,
        )
        if rule == "priced" and prices is not None:
            return lambda sample, tiers: prices.climb(sample, tiers, engine)
        if rule == "predicted" and entry is not None:
            return lambda sample, tiers: entry.climb(engine.prompt_ids(sample), tiers)
        return None

    def _is_sure(self, route: Route) -> bool:
        """Whether the prompt alone says that the tier where the climb begins will answer well."""
        least, tier = self._config.routing.commit_at_once, route.tiers[0]
        if least is None or self._entry is None or tier == route.tiers[-1]:
            return False
        least = max(least, threshold_of(tier, self._active.controls, self._config))
        return self._entry.chance(self._engine.prompt_ids(self._samples[0]), tier) >= least

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
            verified=attempt.kept == len(order.draft) == attempt.longest,
            visible=self._runs.is_visible,
            uncut_score=attempt.uncut_score,
            next_has_room=self._next_has_room(attempt, route),
        )
        verdict, attempt.reason = decide(finding, order.threshold, self._config.judge.on_error)
        attempt.escalated = verdict is Verdict.ESCALATE
        return verdict is Verdict.ACCEPT

    async def _visit(self, order: AttemptOrder, warming: Warming | None) -> Attempt:
        """Run the tier's attempt, again on another worker where one is lost.

        Raises:
            WorkerUnavailableError: if the tier has no worker, or no further attempt is left.
            TimeoutError: if the deadline passed, or the request was given up.
        """
        while True:
            try:
                return await self._runs.attempt(order, warming)
            except WorkerLostError as error:
                if self._runs.is_visible:
                    raise WorkerUnavailableError(str(error)) from error
                self._check_wanted()
                has_worker = self._engine.has_worker(order.tier_index)
                if isinstance(error, AttemptMovedError) and has_worker:
                    # It has only waited, which counts for nothing.
                    continue
                is_spent = self._tried() + 1 >= self._config.routing.max_attempts
                if is_spent or not has_worker:
                    raise WorkerUnavailableError(str(error)) from error
                self.attempts.append(Attempt(tier_index=order.tier_index, reason="worker_lost"))
                # Should it have been the draft, the next one is spared it.
                order = dataclasses.replace(order, draft=())

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

    def _order(self, tier_index: int, route: Route, warming: Warming | None) -> AttemptOrder:
        threshold = threshold_of(tier_index, self._active.controls, self._config)
        is_final = tier_index == route.tiers[-1] or tier_index not in route.judged
        # Samples of one prompt are judged together, so none of them is ended alone; and nothing
        # is hopeless at threshold 0.
        may_commit = not is_final and self._sink is not None
        is_single = len(self._samples) == 1
        may_end = not is_final and is_single and threshold > 0.0
        draft: tuple[int, ...] = ()
        if is_single and not self._config.judge.record:
            sample, attempts, engine = self._samples[0], self.attempts, self._engine
            draft = draft_for(tier_index, sample, attempts, engine, self._worth)
        return AttemptOrder(
            tier_index=tier_index,
            threshold=threshold,
            early_abort=self._config.routing.early_abort if may_end else None,
            earlier_scores=self._earlier_scores(tier_index),
            commit_tokens=self._config.routing.commit_tokens if may_commit else None,
            commit_chance=self._config.routing.commit_chance,
            # Where outputs continue one another, a buffered answer is better had in one piece.
            tells_chance=warming is not None and may_end and not self._engine.is_incremental,
            draft=draft,
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


def _cut_short(error: Exception) -> RequestError:
    """A stream that cannot be completed ends with an error; what was seen stays as it is."""
    if isinstance(error, TimeoutError):
        return RequestError(504, "deadline passed; the answer is incomplete")
    return RequestError(503, f"{error}; the answer is incomplete")
