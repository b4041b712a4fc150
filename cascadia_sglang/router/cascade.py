"""The request path: a prompt climbs the tiers until an answer is good enough."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import RequestError, WorkerError
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.router.active import ActiveRequest, Outcome
from cascadia_sglang.router.attempt import Attempt, Engine, Output, finished_attempt
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.gather import all_or_none, as_accepted
from cascadia_sglang.router.policy import Finding, Verdict, decide

DISCONNECT_POLL_S = 1.0


class CascadeRouter:
    """Takes a request through the tiers. Owns the requests on their way, by the caller's rid."""

    def __init__(self, config: CascadeConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._active: dict[str, ActiveRequest] = {}
        self.admitting = True
        self.answered = [0] * len(config.tiers)
        self.escalated = [0] * len(config.tiers)

    @property
    def active_count(self) -> int:
        """Samples on their way."""
        return len(self._active)

    async def answer(
        self, request: Any, http_request: Any, controls: Controls, outcome: Outcome
    ) -> AsyncIterator[Any]:
        """Answer a request as SGLang's own handlers expect it, under the caller's rids.

        Not streamed: one item, a list for a batch. Streamed: one final item a sample, as soon as
        its prompt is accepted. The handlers drop the generator after the first item of an answer
        that is not streamed, so nothing is left to do by then.

        Raises:
            RequestError: where it cannot be served; the engine's own errors pass unchanged.
        """
        if not self.admitting:
            raise RequestError(503, "the server is shutting down")
        prompts = self._engine.split(request)
        active = self._register(prompts, http_request, controls, outcome)
        tasks: list[asyncio.Task[list[Output]]] = []
        try:
            if len(prompts) == 1:
                groups = [await self._climb(prompts[0], active)]
            else:
                tasks = [asyncio.create_task(self._climb(p, active)) for p in prompts]
                if request.stream:
                    async for item in as_accepted(tasks, len(prompts[0])):
                        yield item
                    return
                groups = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            self._forget(prompts)
        items = [item for group in groups for item in group]
        if request.is_single:
            yield items[0]
        elif request.stream:
            for index, item in enumerate(items):
                yield {**item, "index": index}
        else:
            yield items

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
        for active in set(self._active.values()):
            active.give_up(RequestError(503, "the server is shutting down"))

    async def watch_disconnects(self) -> None:
        """End, once a second, what no client waits for any more. Runs until cancelled."""
        while True:
            await asyncio.sleep(DISCONNECT_POLL_S)
            for active in set(self._active.values()):
                request = active.http_request
                if request is not None and await request.is_disconnected():
                    active.give_up(RequestError(400, "the client disconnected"))

    def _register(
        self, prompts: list[list[Any]], http_request: Any, controls: Controls, outcome: Outcome
    ) -> ActiveRequest:
        limits = [
            x for x in (controls.deadline_s, self._config.routing.deadline_s) if x is not None
        ]
        active = ActiveRequest(
            http_request=http_request,
            controls=controls,
            outcome=outcome,
            deadline=asyncio.get_running_loop().time() + min(limits) if limits else None,
            rid_base=self._engine.new_rid_base(),
            is_batch=len(prompts) > 1,
        )
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

    async def _climb(self, samples: list[Any], active: ActiveRequest) -> list[Output]:
        """Take one prompt from tier to tier until an answer goes out."""
        attempts, tiers, judged = await self._route(samples, active.controls)
        pinned = active.controls.tier is not None
        scores: dict[int, float | None] = {}
        for tier_index in tiers:
            if active.given_up is not None:
                raise active.given_up
            if active.aborted:
                raise RequestError(400, "the request was aborted")
            if sum(a.reason != "too_long" for a in attempts) >= self._config.routing.max_attempts:
                return self._degraded(samples, attempts, active, 503, "max_attempts reached")
            is_last = tier_index == tiers[-1]
            threshold = self._threshold(tier_index, active.controls)
            order = AttemptOrder(
                tier_index=tier_index,
                threshold=threshold,
                early_abort=self._early_abort(samples, threshold, is_last or not judged),
                earlier_scores=tuple(scores.get(tier) for tier in range(tier_index)),
            )
            try:
                attempt = await self._attempt(samples, order, active)
            except TimeoutError:
                if active.given_up is not None:
                    raise active.given_up from None
                attempts.append(Attempt(tier_index=tier_index, reason="deadline"))
                return self._degraded(samples, attempts, active, 504, "deadline passed")
            except WorkerError:
                attempts.append(Attempt(tier_index=tier_index, reason="tier_unavailable"))
                continue
            attempts.append(attempt)
            if active.aborted or _ended_by_engine(attempt):
                attempt.reason = "aborted"
                return self._deliver(samples, attempts, attempt, active)
            finding = Finding(
                score=attempt.score,
                early_abort=attempt.early_abort,
                judged=judged,
                pinned=pinned,
                last=is_last,
            )
            verdict, attempt.reason = decide(finding, threshold, self._config.judge.on_error)
            if verdict is Verdict.ACCEPT:
                return self._deliver(samples, attempts, attempt, active)
            self.escalated[tier_index] += 1
            # A chance of acceptance is no score: calibrations know scores of finished answers.
            scores[tier_index] = None if attempt.early_abort else attempt.score
        return self._degraded(samples, attempts, active, 503, "no tier is available")

    async def _route(
        self, samples: list[Any], controls: Controls
    ) -> tuple[list[Attempt], list[int], bool]:
        """Tiers too short for the prompt, tiers to visit in order, and whether it is judged."""
        prompt_tokens = await self._engine.tokenise(samples)
        top = len(self._config.tiers) - 1
        if controls.tier is not None:
            return [], [controls.tier], False
        if controls.max_tier is not None:
            top = controls.max_tier
        judged = self._engine.is_judgeable(samples[0])
        wanted = list(range(top + 1))
        if not judged and self._config.judge.on_constrained == "escalate":
            wanted = [top]
        if prompt_tokens is None:
            return [], wanted, judged
        fitting = [t for t in wanted if self._fits(t, prompt_tokens, samples[0])]
        if not fitting:
            # The engine itself says what is wrong, in its own words.
            return [], wanted[-1:], judged
        skipped = [Attempt(tier_index=t, reason="too_long") for t in wanted if t not in fitting]
        return skipped, fitting, judged

    def _fits(self, tier_index: int, prompt_tokens: int, sample: Any) -> bool:
        limits = self._engine.limits(tier_index)
        if limits is None:
            return True
        total = prompt_tokens + (self._engine.max_new_tokens(sample) or 1)
        return prompt_tokens < limits.input_tokens and total <= limits.context_tokens

    async def _attempt(
        self, samples: list[Any], order: AttemptOrder, active: ActiveRequest
    ) -> Attempt:
        started = time.monotonic()
        async with asyncio.timeout_at(active.deadline) as scope:
            active.scopes.add(scope)
            try:
                runs = [self._run(sample, order, active) for sample in samples]
                results = [await runs[0]] if len(runs) == 1 else await all_or_none(runs)
            finally:
                active.scopes.discard(scope)
        return finished_attempt(order.tier_index, results, started)

    async def _run(self, sample: Any, order: AttemptOrder, active: ActiveRequest) -> Any:
        rid = active.next_rid()
        active.rids.add(rid)
        active.outcome.attempts += 1
        try:
            return await self._engine.run(sample, rid, order)
        finally:
            active.rids.discard(rid)

    def _threshold(self, tier_index: int, controls: Controls) -> float:
        if controls.threshold is not None:
            return controls.threshold
        thresholds = self._config.routing.thresholds
        return thresholds[tier_index] if tier_index < len(thresholds) else 0.0

    def _early_abort(self, samples: list[Any], threshold: float, is_final: bool) -> float | None:
        """Samples of one prompt are judged together, so none of them is ended alone; and nothing
        is hopeless at threshold 0."""
        if is_final or len(samples) > 1 or threshold <= 0.0:
            return None
        return self._config.routing.early_abort

    def _degraded(
        self,
        samples: list[Any],
        attempts: list[Attempt],
        active: ActiveRequest,
        status: int,
        reason: str,
    ) -> list[Output]:
        """The best complete answer, where the request allows one that was not accepted."""
        allowed = active.controls.allow_degraded
        if allowed is None:
            allowed = self._config.routing.allow_degraded
        complete = [a for a in attempts if a.outputs and not a.early_abort and a.score is not None]
        if allowed and complete:
            best = max(complete, key=lambda attempt: attempt.score or 0.0)
            best.reason = "degraded"
            return self._deliver(samples, attempts, best, active)
        active.outcome.tokens += sum(attempt.tokens for attempt in attempts)
        raise RequestError(status, f"{reason}; no accepted answer")

    def _deliver(
        self,
        samples: list[Any],
        attempts: list[Attempt],
        chosen: Attempt,
        active: ActiveRequest,
    ) -> list[Output]:
        """The chosen outputs under the caller's rids, with what led to them."""
        names = [tier.name for tier in self._config.tiers]
        self.answered[chosen.tier_index] += 1
        outcome = active.outcome
        outcome.tier_index = max(outcome.tier_index, chosen.tier_index)
        outcome.score = None if active.is_batch else chosen.score
        outcome.tokens += sum(attempt.tokens for attempt in attempts)
        story = {
            "tier": names[chosen.tier_index],
            "tier_index": chosen.tier_index,
            "score": chosen.score,
            "attempts": [attempt.summary(names[attempt.tier_index]) for attempt in attempts],
        }
        for sample, output in zip(samples, chosen.outputs, strict=True):
            output["meta_info"]["id"] = sample.rid
            output["meta_info"]["cascadia"] = story
        return chosen.outputs


def _ended_by_engine(attempt: Attempt) -> bool:
    """Whether the engine, not the judge, gave a sample up: such an answer is final."""
    if attempt.early_abort:
        return False
    reasons = (output["meta_info"].get("finish_reason") for output in attempt.outputs)
    return any(reason is not None and reason.get("type") == "abort" for reason in reasons)
