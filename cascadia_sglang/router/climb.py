"""How a prompt climbs the tiers until an answer is good enough."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Coroutine
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import (
    OverloadError,
    RequestError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.active import ActiveRequest
from cascadia_sglang.router.attempt import Attempt, Engine, finished_attempt
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.gather import all_or_none
from cascadia_sglang.router.policy import Finding, Verdict, decide
from cascadia_sglang.router.route import Route, find_route, room_tokens
from cascadia_sglang.router.stream import Gate, Sink, is_last


class Climb:
    """One prompt on its way: its samples, and the attempts that it took so far."""

    def __init__(
        self,
        samples: list[Any],
        active: ActiveRequest,
        config: CascadeConfig,
        engine: Engine,
        sink: Sink | None = None,
        entry: EntryScorer | None = None,
        on_escalation: Callable[[list[Attempt]], None] | None = None,
    ) -> None:
        """`on_escalation` is shown the attempts so far whenever the prompt goes on."""
        self.attempts: list[Attempt] = []
        self._samples = samples
        self._active = active
        self._config = config
        self._engine = engine
        self._sink = sink
        self._entry = entry
        self._on_escalation = on_escalation

    async def run(self) -> Attempt:
        """Go from tier to tier; the attempt whose outputs are the answer.

        Raises:
            RequestError: where no answer may go out.
        """
        active = self._active
        is_predicted = self._config.routing.entry == "predicted"
        entry = self._entry if is_predicted else None
        route = await find_route(self._samples, active.controls, self._config, self._engine, entry)
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
            order = self._order(tier_index, route)
            try:
                attempt = await self._visit(order)
            except (TimeoutError, WorkerUnavailableError) as error:
                if self._is_visible():
                    raise active.given_up or _cut_short(error) from None
                if isinstance(error, WorkerUnavailableError):
                    self.attempts.append(Attempt(tier_index=tier_index, reason="tier_unavailable"))
                    continue
                if active.given_up is not None:
                    raise active.given_up from None
                self.attempts.append(Attempt(tier_index=tier_index, reason="deadline"))
                return self._degraded(504, "deadline passed")
            except OverloadError as error:
                self.attempts.append(Attempt(tier_index=tier_index, reason="overloaded"))
                return self._degraded(503, str(error))
            self.attempts.append(attempt)
            if self._is_final(attempt, order, route):
                return attempt
            if self._on_escalation is not None:
                self._on_escalation(self.attempts)
        return self._degraded(503, "no tier is available")

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
            visible=self._is_visible(),
            uncut_score=attempt.uncut_score,
            next_has_room=self._next_has_room(attempt, route),
        )
        verdict, attempt.reason = decide(finding, order.threshold, self._config.judge.on_error)
        attempt.escalated = verdict is Verdict.ESCALATE
        return verdict is Verdict.ACCEPT

    async def _visit(self, order: AttemptOrder) -> Attempt:
        """Run the tier's attempt, again on another worker where one is lost.

        Raises:
            WorkerUnavailableError: if the tier has no worker, or no further attempt is left.
            TimeoutError: if the deadline passed, or the request was given up.
        """
        while True:
            try:
                return await self._attempt(order)
            except WorkerLostError as error:
                if self._is_visible():
                    raise WorkerUnavailableError(str(error)) from error
                self._check_wanted()
                is_spent = self._tried() + 1 >= self._config.routing.max_attempts
                if is_spent or not self._engine.has_worker(order.tier_index):
                    raise WorkerUnavailableError(str(error)) from error
                self.attempts.append(Attempt(tier_index=order.tier_index, reason="worker_lost"))

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
                runs = self._runs(order)
                results = [await runs[0]] if len(runs) == 1 else await all_or_none(runs)
            finally:
                active.scopes.discard(scope)
        return finished_attempt(order.tier_index, results, started)

    def _runs(self, order: AttemptOrder) -> list[Coroutine[Any, Any, Any]]:
        if self._sink is None:
            return [self._run(sample, order) for sample in self._samples]
        rids = [sample.rid for sample in self._samples]
        gate = Gate(self._sink, rids, self._engine.is_incremental)
        return [self._stream(n, sample, order, gate) for n, sample in enumerate(self._samples)]

    async def _run(self, sample: Any, order: AttemptOrder) -> Any:
        rid = self._active.begin_run()
        try:
            return await self._engine.run(sample, rid, order)
        finally:
            self._active.rids.discard(rid)

    async def _stream(self, number: int, sample: Any, order: AttemptOrder, gate: Gate) -> Any:
        """`_run`, with its outputs sent on their way as the gate allows."""
        rid = self._active.begin_run()
        # Without a commitment to wait for, the tier is final.
        is_free = order.commit_tokens is None
        try:
            async with contextlib.aclosing(self._engine.stream(sample, rid, order)) as outputs:
                async for output, report in outputs:
                    if is_last(output):
                        return gate.whole(number, output), report
                    gate.take(number, output, is_free or report.committed)
                    if self._is_visible():
                        self._active.show(order.tier_index)
            raise WorkerLostError("the stream ended before its answer")
        finally:
            self._active.rids.discard(rid)

    def _is_visible(self) -> bool:
        return self._sink is not None and self._sink.is_visible

    def _order(self, tier_index: int, route: Route) -> AttemptOrder:
        threshold = threshold_of(tier_index, self._active.controls, self._config)
        is_final = tier_index == route.tiers[-1] or tier_index not in route.judged
        # Samples of one prompt are judged together, so none of them is ended alone; and nothing
        # is hopeless at threshold 0.
        may_commit = not is_final and self._sink is not None
        may_end = not is_final and len(self._samples) == 1 and threshold > 0.0
        return AttemptOrder(
            tier_index=tier_index,
            threshold=threshold,
            early_abort=self._config.routing.early_abort if may_end else None,
            earlier_scores=self._earlier_scores(tier_index),
            commit_tokens=self._config.routing.commit_tokens if may_commit else None,
            commit_chance=self._config.routing.commit_chance,
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


def stream_mode(controls: Controls, config: CascadeConfig) -> str:
    """When a streamed answer leaves: buffered, commit or direct."""
    return controls.stream or config.routing.stream


def threshold_of(tier_index: int, controls: Controls, config: CascadeConfig) -> float:
    """The score from which a tier's answer is accepted."""
    if controls.threshold is not None:
        return controls.threshold
    thresholds = config.routing.thresholds
    return thresholds[tier_index] if tier_index < len(thresholds) else 0.0
