"""The requests on their way: registered, sent to climb, answered under the caller's rids."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

from cascadia_sglang.cascade_file import with_thresholds
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import HungUpError, RequestError, http_status
from cascadia_sglang.judge.drift import ScoreWatch
from cascadia_sglang.label_settings import label_rate
from cascadia_sglang.metrics import Metrics
from cascadia_sglang.prefix.warming import Warmer
from cascadia_sglang.router.active import ActiveRequest, Outcome
from cascadia_sglang.router.attempt import Attempt, Engine, Output, story_of
from cascadia_sglang.router.climb import Climb
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.listener import Listener
from cascadia_sglang.router.placing import known_body
from cascadia_sglang.router.pricing import EntryPrices
from cascadia_sglang.router.scores import TierScores
from cascadia_sglang.router.shadow import Shadow
from cascadia_sglang.router.stream import Sink, streamed
from cascadia_sglang.router.suspects import Suspects
from cascadia_sglang.verify.worth import DraftWorth

DISCONNECT_POLL_S = 0.4


class CascadeRouter:
    """Takes a request through the tiers. Owns the requests on their way, by the caller's rid."""

    def __init__(
        self,
        config: CascadeConfig,
        engine: Engine,
        watches: Mapping[int, ScoreWatch] = MappingProxyType({}),
        scores: TierScores | None = None,
    ) -> None:
        """`watches` are shown the scores of the tier indices that they belong to."""
        self.config = config
        self.scores = scores or TierScores(config)
        self.metrics: Metrics | None = None
        self._engine = engine
        self._active: dict[str, ActiveRequest] = {}
        self.suspects = Suspects(engine.workers, engine.passed_over)
        engine.watch_workers(self.suspects.schedule)
        self.entry: EntryScorer | None = None
        self.prices: EntryPrices | None = None
        self.warmer: Warmer | None = None
        self.worth: DraftWorth | None = None
        self.admitting = True
        self.answered = [0] * len(config.tiers)
        self.escalated = [0] * len(config.tiers)
        self.judge_errors = [0] * len(config.tiers)
        self.watches = dict(watches)
        self.shadow = Shadow(engine, len(config.tiers) - 1, label_rate(config))
        self.gear = 0  # of the thresholds in force
        self.listener: Listener | None = None

    @property
    def active_count(self) -> int:
        """Samples on their way."""
        return len(self._active)

    async def answer(
        self, request: Any, http_request: Any, controls: Controls, outcome: Outcome
    ) -> AsyncIterator[Any]:
        """Answer a request as SGLang's own handlers expect it, under the caller's rids.

        Not streamed: one item, a list for a batch. Streamed: the items of each sample, the last of
        which is final. The handlers drop the generator after the first item of an answer
        that is not streamed, so nothing is left to do by then.

        Raises:
            RequestError: where it cannot be served; the engine's own errors pass unchanged.
        """
        try:
            if not self.admitting:
                raise RequestError(503, "the server is shutting down")
            self.scores.check_own_threshold(controls)
            body = await known_body(self.suspects, http_request)
            prompts = self._engine.split(request)
            active = self._register(prompts, http_request, controls, outcome)
            active.body = body
        except Exception as error:
            self._count_failure(outcome, [], error)
            raise
        tasks: list[asyncio.Task[list[Output]]] = []
        try:
            if request.stream:
                climbs = [functools.partial(self._climb, p, active) for p in prompts]
                async with contextlib.aclosing(
                    streamed(climbs, len(prompts[0]), request.is_single)
                ) as outputs:
                    async for item in outputs:
                        yield item
                return
            if len(prompts) == 1:
                groups = [await self._climb(prompts[0], active)]
            else:
                tasks = [asyncio.create_task(self._climb(p, active)) for p in prompts]
                groups = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            self._forget(prompts)
        items = [item for group in groups for item in group]
        yield items[0] if request.is_single else items

    def abort(self, rid: str) -> set[str] | None:
        """End the request of a caller's rid: the rids of its running attempts, None if unknown."""
        active = self._active.get(rid)
        if active is None:
            return None
        active.aborted = True
        return set(active.rids)

    def abort_all(self) -> None:
        """Let no request climb any further."""
        for active in self._active.values():
            active.aborted = True

    def end_all(self) -> None:
        """Give up every request that is still on its way; each fails with a clear error."""
        self.shadow.stop()
        for active in set(self._active.values()):
            active.give_up(RequestError(503, "the server is shutting down"))

    def set_thresholds(self, thresholds: list[float]) -> None:
        """Use these from now on; requests on their way keep theirs.

        Raises:
            ConfigError: if they are not one number in [0, 1] for every tier but the last, or a
                tier is ranked.
        """
        changed = with_thresholds(self.config, thresholds)
        self.scores.fix(thresholds)
        self.config = changed

    async def watch_disconnects(self) -> None:
        """End within a second what no client waits for any more. Runs until cancelled.

        What has come since the last look is left for the next: most of it will be over by then.
        """
        earlier: set[ActiveRequest] = set()
        while True:
            await asyncio.sleep(DISCONNECT_POLL_S)
            now = set(self._active.values())
            known, earlier = now & earlier, now
            for active in known:
                request = active.http_request
                if request is not None and await request.is_disconnected():
                    active.give_up(HungUpError())

    def _register(
        self, prompts: list[list[Any]], http_request: Any, controls: Controls, outcome: Outcome
    ) -> ActiveRequest:
        limits = [x for x in (controls.deadline_s, self.config.routing.deadline_s) if x is not None]
        active = ActiveRequest(
            http_request=http_request,
            controls=controls,
            outcome=outcome,
            deadline=asyncio.get_running_loop().time() + min(limits) if limits else None,
            rid_base=self._engine.new_rid_base(),
            is_batch=len(prompts) > 1,
        )
        outcome.gear = self.gear
        rids = [sample.rid for samples in prompts for sample in samples]
        for rid in rids:
            if rid in self._active:
                raise RequestError(400, f"Duplicate request ID detected: {rid}", "rid")
        self._active.update(dict.fromkeys(rids, active))
        return active

    def _forget(self, prompts: list[list[Any]]) -> None:
        for samples in prompts:
            for sample in samples:
                self._active.pop(sample.rid, None)

    async def _climb(
        self, samples: list[Any], active: ActiveRequest, sink: Sink | None = None
    ) -> list[Output]:
        """Take one prompt through the tiers; the outputs of its answer, the last where streamed."""
        started = time.monotonic()
        is_own_way = active.controls.is_own_way

        def note(attempts: list[Attempt]) -> None:
            if self.listener is not None:
                self.listener.escalated(attempts, time.monotonic() - started, is_own_way)

        ticket = self.shadow.ticket(samples, active.controls, self.config)
        climb = Climb(
            samples,
            active,
            self.config if ticket is None else ticket.config,
            self._engine,
            self.suspects,
            self.scores,
            suspect=self.suspects.suspect_of(active.body),
            sink=sink,
            entry=self.entry,
            prices=self.prices,
            warmer=self.warmer,
            worth=self.worth,
            on_escalation=note,
        )
        if self.listener is not None:
            self.listener.arrived()
        try:
            chosen = await climb.run()
        except BaseException as error:
            if active.failure is None or not isinstance(error, asyncio.CancelledError):
                active.failure = error
            self._count_failure(active.outcome, climb.attempts, active.failure)
            raise
        finally:
            active.outcome.tokens += sum(attempt.tokens for attempt in climb.attempts)
            for attempt in climb.attempts:
                if attempt.escalated:
                    self.escalated[attempt.tier_index] += 1
                if attempt.judge_failed:
                    self.judge_errors[attempt.tier_index] += 1
                self._watch_score(attempt, active.controls)
            self._learn(samples[0], climb.attempts)
            if self.listener is not None:
                self.listener.finished(climb.attempts, time.monotonic() - started, is_own_way)
        if self.metrics is not None:
            seconds = time.monotonic() - started
            seen = None if sink is None else sink.first_s
            ttft_s = seconds if seen is None else seen - started
            self.metrics.answered(climb.attempts, chosen, seconds, ttft_s)
            active.outcome.is_counted = True
        if ticket is not None:
            self.shadow.consider(samples, climb.attempts, chosen, ticket)
        return self._deliver(samples, climb.attempts, chosen, active)

    def _count_failure(
        self, outcome: Outcome, attempts: list[Attempt], error: BaseException
    ) -> None:
        if self.metrics is not None:
            self.metrics.failed(attempts, http_status(error))
            outcome.is_counted = True

    def _learn(self, sample: Any, attempts: list[Attempt]) -> None:
        """Tell the prices what was accepted, and the warmer what its work was good for."""
        if self.prices is not None:
            self.prices.learn(attempts)
        prompt = self._engine.prompt(sample) if self.warmer is not None else None
        if self.warmer is not None and prompt is not None and self.warmer.is_long(prompt):
            for attempt in attempts:
                self.warmer.found(attempt.tier_index, prompt, attempt.cached_tokens)

    def _watch_score(self, attempt: Attempt, controls: Controls) -> None:
        """Show a tier's watch the score of a whole answer that came the cascade's own way."""
        watch = self.watches.get(attempt.tier_index)
        is_shown = attempt.is_whole and controls.is_own_way and attempt.calibrated
        if watch is not None and attempt.score is not None and is_shown:
            watch.add(attempt.score)

    def _deliver(
        self,
        samples: list[Any],
        attempts: list[Attempt],
        chosen: Attempt,
        active: ActiveRequest,
    ) -> list[Output]:
        """The chosen outputs under the caller's rids, with what led to them."""
        self.answered[chosen.tier_index] += 1
        active.outcome.answered(chosen, is_batch=active.is_batch)
        prompt_ids = self._engine.prompt_ids(samples[0])
        story = story_of(attempts, chosen, self.config, prompt_ids)
        for sample, output in zip(samples, chosen.outputs, strict=True):
            output["meta_info"]["id"] = sample.rid
            output["meta_info"]["cascadia"] = story
        return chosen.outputs
