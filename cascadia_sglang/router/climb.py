"""How a prompt climbs the tiers until an answer is good enough."""

import dataclasses
import functools
import time

from cascadia_sglang.errors import (
    AttemptFailedError,
    AttemptMovedError,
    OverloadError,
    RequestError,
    UnreadablePromptError,
    WorkerDiedError,
    WorkerError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Warming
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.attempt_orders import DraftOffer, draft_for, order_for
from cascadia_sglang.router.attempt_runner import AttemptRunner
from cascadia_sglang.router.events import PromptEscalated, PromptFinished
from cascadia_sglang.router.finished_attempts import (
    best_complete,
    best_of,
    cut_short,
    is_final,
    last_complete,
    next_has_room,
)
from cascadia_sglang.router.poison_requests import Assignment
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.retries import Placing
from cascadia_sglang.router.route import Route, find_route, seen_route
from cascadia_sglang.router.services import Services
from cascadia_sglang.router.stream import Leaving, Sink, leaving, streamed_route


async def climb(
    prompt: RequestPrompt, services: Services, sink: Sink | None = None
) -> tuple[Attempt, list[Attempt]]:
    """Take a prompt through the tiers, and announce its arrival and its end.

    Args:
        sink: takes outputs on their way to the client; None where the answer leaves whole.

    Returns:
        The attempt whose outputs are the answer, and all attempts in order.

    Raises:
        RequestError: where no answer may go out; the engine's own errors pass unchanged.
    """
    course = Climb(prompt, services, sink)
    chosen: Attempt | None = None
    error: BaseException | None = None
    services.observers.arrived(prompt.arrived_s)
    if services.spans.is_on:
        services.spans.begin(prompt)
    try:
        chosen = await course.run()
        return chosen, course.attempts
    except BaseException as raised:
        error = prompt.request.fail(raised)
        raise
    finally:
        prompt.request.summary.ended(course.attempts)
        services.observers.finished(
            PromptFinished(
                prompt=prompt,
                attempts=course.attempts,
                chosen=chosen,
                error=error,
                at_s=time.monotonic(),
                first_output_s=None if sink is None else sink.first_s,
            )
        )


class Climb:
    """One prompt on its way, and the attempts that it took so far."""

    def __init__(self, prompt: RequestPrompt, services: Services, sink: Sink | None) -> None:
        self.attempts: list[Attempt] = []
        self._prompt = prompt
        self._request = prompt.request
        self._services = services
        self._sink = sink
        allowed = prompt.controls.allow_degraded
        allowed_by_default = prompt.config.routing.allow_degraded
        self._allows_degraded = allowed_by_default if allowed is None else allowed
        self._runner = AttemptRunner(prompt, services.engine, sink)
        self._placing = Placing(prompt.request, services, self.attempts)
        self._route: Route  # set by `run`
        self._has_refusal = False  # whether a tier could not be asked the prompt

    async def run(self) -> Attempt:
        """Go from tier to tier; the attempt whose outputs are the answer.

        Raises:
            RequestError: where no answer may go out.
        """
        route = await find_route(self._prompt, self._services)
        if self._sink is not None:
            route = streamed_route(route, self._prompt, self._services)
        self._route = route
        self.attempts.extend(route.skipped)
        self._placing.begin(route.tiers, is_pinned=route.pinned)
        try:
            while True:
                self._request.check_wanted()
                if self._placing.is_spent():
                    return self._degraded(503, "max_attempts reached")
                try:
                    assignment = await self._placing.next(may_wait=not self._has_answer())
                    is_askable = assignment is None or await self._is_askable(assignment.tier_index)
                except TimeoutError:
                    self._request.check_wanted()
                    return self._late(self._route.tiers[-1])
                if assignment is None and self._has_refusal:
                    answer = self._fallen_back()
                elif assignment is None:
                    return self._degraded(503, "no tier is available")
                else:
                    answer = await self._visit(assignment, self._route) if is_askable else None
                if answer is not None:
                    return answer
        except BaseException:  # a client that leaves, too, leaves its suspicion behind
            await self._placing.remember()
            raise
        finally:
            # Another suspect waits for the worker on which this one would have been asked.
            self._placing.leave()

    async def _is_askable(self, tier_index: int) -> bool:
        """Make the prompt for a tier; whether it can be asked, which is noted where it cannot.

        Raises:
            TimeoutError: if the deadline passed, or the request was given up.
        """
        if tier_index not in self._route.unseen:
            return True
        async with self._request.limited():
            self._route, skipped = await seen_route(
                self._route, tier_index, self._prompt, self._services.engine
            )
        has_other = self._route.tier_after(tier_index) is not None or any(
            attempt.outputs for attempt in self.attempts
        )
        if skipped is None or (skipped.reason == "too_long" and not has_other):
            # Where it fits none, the engine itself says what is wrong, in its own words.
            return True
        self._placing.leave()
        self._placing.pass_over(tier_index)
        self._has_refusal = True
        self.attempts.append(skipped)
        return False

    def _fallen_back(self) -> Attempt | None:
        """What goes out where the tiers above the last answer could not be asked.

        None where that answer was given up early: its tier is asked again, as the last one.

        Raises:
            RequestError: 400 where no tier has answered.
        """
        self._has_refusal = False
        answered = [attempt for attempt in self.attempts if attempt.outputs]
        if not answered:
            raise RequestError(400, "no tier can be asked this prompt")
        complete = last_complete(answered)
        if complete is not None:
            complete.reason, complete.escalated = "last_tier", False
            return complete
        tier_index = answered[-1].tier_index
        self._route = dataclasses.replace(self._route, tiers=[tier_index])
        self._placing.begin([tier_index], is_pinned=False)
        return None

    async def _visit(self, assignment: Assignment, route: Route) -> Attempt | None:
        """Try an assignment: what goes out, None where the prompt escalates."""
        placing, services, tier_index = self._placing, self._services, assignment.tier_index
        leaves = Leaving.WHOLE
        if self._sink is not None:
            leaves = leaving(tier_index, route, self._prompt, services)
        # A suspect is on one worker at a time, so nothing is warmed for it.
        may_warm = tier_index in route.judged and not placing.suspect.is_suspected
        next_tier = route.tier_after(tier_index) if may_warm else None
        engine, sample = services.engine, self._prompt.sample
        try:
            # Should a worker have been lost over the draft, the next one is spared it.
            draft = DraftOffer()
            if not placing.is_retry:
                draft = await draft_for(tier_index, self._prompt, self.attempts, services)
            with services.warmer.during(
                engine.prompt(sample, tier_index),
                tier_index,
                next_tier,
                is_first=tier_index == route.tiers[0],
                next_prompt=None
                if next_tier is None or engine.asks_alike(sample, tier_index, next_tier)
                else functools.partial(self._prompt_for, next_tier),
            ) as warming:
                order = order_for(
                    assignment,
                    route,
                    self._prompt,
                    self.attempts,
                    services,
                    draft=draft,
                    may_commit=leaves is Leaving.ONCE_COMMITTED,
                    is_warming=warming is not None,
                    is_retry=placing.is_retry,
                )
                answer = await self._take(order, route, warming, leaves)
        finally:
            placing.leave()
        if answer is None and warming is not None and warming.lost is not None:
            await placing.accuse(warming.lost, self._prompt.samples)
        return answer

    async def _prompt_for(self, tier_index: int) -> Prompt | None:
        """The prompt as a tier is asked it; None where it cannot be, or where the prefix caches
        keep it apart."""
        engine = self._services.engine
        try:
            await engine.tokenise(self._prompt.samples, tier_index)
        except UnreadablePromptError:
            return None
        return engine.prompt(self._prompt.sample, tier_index)

    async def _take(
        self, order: AttemptOrder, route: Route, warming: Warming | None, leaves: Leaving
    ) -> Attempt | None:
        """Run an attempt: what goes out, None where the prompt goes on."""
        tier_index = order.tier_index
        try:
            attempt = await self._run(order, warming, leaves)
        except TimeoutError as error:
            if self._runner.is_visible:
                raise self._request.given_up or cut_short(error) from None
            return self._late(tier_index)
        except (WorkerLostError, WorkerUnavailableError, AttemptFailedError) as error:
            await self._lose(error, tier_index)
            return None
        except OverloadError as error:
            self.attempts.append(Attempt(tier_index=tier_index, reason="overloaded"))
            return self._degraded(503, str(error))
        await self._placing.answered(tier_index)
        self.attempts.append(attempt)
        if attempt.is_cut:
            attempt.reason = "deadline"
            return self._late()
        is_visible = self._runner.is_visible
        has_room = await next_has_room(attempt, route, self._prompt, self._services.engine)
        if is_final(
            attempt,
            order,
            route,
            self._prompt,
            self._services,
            is_visible=is_visible,
            next_has_room=has_room,
        ):
            return attempt
        if warming is not None:
            warming.escalated = True
        self._services.observers.escalated(
            PromptEscalated(
                prompt=self._prompt, attempts=tuple(self.attempts), at_s=time.monotonic()
            )
        )
        return None

    async def _run(self, order: AttemptOrder, warming: Warming | None, leaves: Leaving) -> Attempt:
        attempt = self._traced if self._services.spans.is_on else self._attempt
        while True:
            try:
                return await attempt(order, warming, leaves)
            except AttemptMovedError:
                # It has only waited, which counts for nothing.
                has_worker = self._services.engine.has_worker(order.tier_index)
                if self._runner.is_visible or not has_worker:
                    raise

    async def _attempt(
        self, order: AttemptOrder, warming: Warming | None, leaves: Leaving
    ) -> Attempt:
        return await self._runner.attempt(order, warming, leaves, keeps=self._allows_degraded)

    async def _traced(
        self, order: AttemptOrder, warming: Warming | None, leaves: Leaving
    ) -> Attempt:
        """`_attempt`, in a span of its own."""
        spans = self._services.spans
        order = spans.attempt(self._prompt, order)
        try:
            attempt = await self._attempt(order, warming, leaves)
        except BaseException as error:
            spans.attempt_failed(self._prompt, error)
            raise
        spans.attempt_ended(self._prompt, attempt)
        return attempt

    async def _lose(self, error: WorkerError, tier_index: int) -> None:
        """Note an attempt that came to nothing; the prompt may go on.

        Raises:
            RequestError: where it may not.
        """
        if isinstance(error, WorkerDiedError):
            try:
                await self._placing.accuse(error, self._prompt.samples)
            except RequestError:
                self.attempts.append(Attempt(tier_index=tier_index, reason="poison"))
                raise
        if self._runner.is_visible:
            raise self._request.given_up or cut_short(error)
        self._request.check_wanted()
        self._placing.failed(error, tier_index)

    def _has_answer(self) -> bool:
        """Whether a finished answer may go out should no tier be available."""
        return self._allows_degraded and best_complete(self.attempts) is not None

    def _late(self, tier_index: int | None = None) -> Attempt:
        """What goes out once the deadline has passed; what was seen goes on as it is.

        Args:
            tier_index: of the attempt that the deadline ended without a result.
        """
        if self._request.given_up is not None:
            raise self._request.given_up
        if tier_index is not None:
            self.attempts.append(Attempt(tier_index=tier_index, reason="deadline"))
        attempts = self.attempts[-1:] if self._runner.is_visible else self.attempts
        return self._degraded(504, "deadline passed", attempts)

    def _degraded(self, status: int, reason: str, attempts: list[Attempt] | None = None) -> Attempt:
        """The best answer of these or all, where the request allows one that was not accepted."""
        best = best_of(attempts or self.attempts) if self._allows_degraded else None
        if best is None:
            raise RequestError(status, f"{reason}; no accepted answer")
        best.reason = "degraded"
        return best
