"""How a prompt climbs the tiers until an answer is good enough."""

from collections.abc import Callable, Sequence
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import (
    AttemptFailedError,
    AttemptMovedError,
    OverloadError,
    RequestError,
    WorkerDiedError,
    WorkerError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Warmer, Warming
from cascadia_sglang.router.active import ActiveRequest
from cascadia_sglang.router.attempt import Attempt, Engine
from cascadia_sglang.router.degraded import best_complete, best_of, cut_short
from cascadia_sglang.router.drafts import learn
from cascadia_sglang.router.leaving import Leaving, leaving, streamed_route
from cascadia_sglang.router.orders import order_for
from cascadia_sglang.router.placing import Placing
from cascadia_sglang.router.pricing import EntryPrices
from cascadia_sglang.router.route import Entry, Route, find_route
from cascadia_sglang.router.runs import Runs
from cascadia_sglang.router.scores import TierScores
from cascadia_sglang.router.stream import Sink
from cascadia_sglang.router.suspects import Place, Suspect, Suspects
from cascadia_sglang.router.verdicts import Verdicts
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
        suspects: Suspects,
        scores: TierScores,
        *,
        suspect: Suspect | None = None,
        sink: Sink | None = None,
        entry: EntryScorer | None = None,
        prices: EntryPrices | None = None,
        warmer: Warmer | None = None,
        worth: DraftWorth | None = None,
        on_escalation: Callable[[list[Attempt]], None] | None = None,
    ) -> None:
        """Of `entry`, `prices`, `warmer` and `worth` the one that is None says nothing.

        `suspect` holds what the prompt is suspected of from the begin.
        `on_escalation` is shown the attempts so far whenever the prompt goes on.
        """
        self.attempts: list[Attempt] = []
        self._samples = samples
        self._active = active
        self._config = config
        self._engine = engine
        self._sink = sink
        self._scores = scores
        self._verdicts = Verdicts(samples, active, config, engine, scores)
        self._runs = Runs(samples, active, engine, sink)
        self._placing = Placing(
            active, engine, suspects, suspect or Suspect(), config.max_attempts()
        )
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
        if self._sink is not None:
            route = streamed_route(
                route, active.controls, self._config, self._scores, self._entry, self._prompt_ids
            )
        self.attempts.extend(route.skipped)
        self._placing.begin(route.tiers, is_pinned=route.pinned)
        try:
            while True:
                self._check_wanted()
                if self._placing.is_spent(self.attempts):
                    return self._degraded(503, "max_attempts reached")
                try:
                    has_answer = self._allows_degraded() and best_complete(self.attempts)
                    place = await self._placing.next(self.attempts, may_wait=not has_answer)
                except TimeoutError:
                    return self._late(route.tiers[-1])
                if place is None:
                    return self._degraded(503, "no tier is available")
                answer = await self._visit(place, route)
                if answer is not None:
                    return answer
        except BaseException:  # a client that leaves, too, leaves its suspicion behind
            await self._placing.remember()
            raise

    async def _visit(self, place: Place, route: Route) -> Attempt | None:
        """Try a place: what goes out, None where the prompt goes on."""
        placing, tier_index = self._placing, place.tier_index
        # A suspect is on one worker at a time.
        warmer = None if placing.suspect.is_suspected else self._warmer
        leaves = Leaving.WHOLE if self._sink is None else self._leaving(tier_index, route)
        try:
            with warmed(warmer, self._prompt(), tier_index, route) as warming:
                order = order_for(
                    place,
                    route,
                    self._samples,
                    self.attempts,
                    self._active.controls,
                    self._config,
                    self._engine,
                    self._scores,
                    worth=self._worth,
                    may_commit=leaves is Leaving.ONCE_COMMITTED,
                    is_warming=warming is not None,
                    is_retry=placing.is_retry,
                )
                answer = await self._take(order, route, warming, leaves)
        finally:
            placing.leave()
        if answer is None and warming is not None and warming.lost is not None:
            await placing.accuse(warming.lost, self._samples)
        return answer

    async def _take(
        self, order: AttemptOrder, route: Route, warming: Warming | None, leaves: Leaving
    ) -> Attempt | None:
        tier_index = order.tier_index
        try:
            attempt = await self._run(order, warming, leaves)
        except TimeoutError as error:
            if self._runs.is_visible:
                raise self._active.given_up or cut_short(error) from None
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
        learn(self._worth, order.draft, attempt)
        if self._verdicts.is_final(attempt, order, route, visible=self._runs.is_visible):
            return attempt
        if warming is not None:
            warming.escalated = True
        if self._on_escalation is not None:
            self._on_escalation(self.attempts)
        return None

    async def _run(self, order: AttemptOrder, warming: Warming | None, leaves: Leaving) -> Attempt:
        keeps = self._allows_degraded()
        while True:
            try:
                return await self._runs.attempt(order, warming, leaves, keeps=keeps)
            except AttemptMovedError:
                # It has only waited, which counts for nothing.
                if self._runs.is_visible or not self._engine.has_worker(order.tier_index):
                    raise
                self._check_wanted()

    async def _lose(self, error: WorkerError, tier_index: int) -> None:
        """Note an attempt that came to nothing; the prompt may go on.

        Raises:
            RequestError: where it may not.
        """
        if isinstance(error, WorkerDiedError):
            try:
                await self._placing.accuse(error, self._samples)
            except RequestError:
                self.attempts.append(Attempt(tier_index=tier_index, reason="poison"))
                raise
        if self._runs.is_visible:
            raise self._active.given_up or cut_short(error)
        self._check_wanted()
        self._placing.failed(error, tier_index, self.attempts)

    def _late(self, tier_index: int | None = None) -> Attempt:
        """What goes out once the deadline has passed; what was seen goes on as it is.

        Args:
            tier_index: of the attempt that the deadline ended without a result.
        """
        if self._active.given_up is not None:
            raise self._active.given_up
        if tier_index is not None:
            self.attempts.append(Attempt(tier_index=tier_index, reason="deadline"))
        attempts = self.attempts[-1:] if self._runs.is_visible else self.attempts
        return self._degraded(504, "deadline passed", attempts)

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

    def _prompt_ids(self) -> Sequence[int] | None:
        return self._engine.prompt_ids(self._samples[0])

    def _leaving(self, tier_index: int, route: Route) -> Leaving:
        return leaving(tier_index, route, self._active.controls, self._config, self._scores)

    def _check_wanted(self) -> None:
        if self._active.given_up is not None:
            raise self._active.given_up
        if self._active.aborted:
            raise RequestError(400, "the request was aborted")

    def _degraded(self, status: int, reason: str, attempts: list[Attempt] | None = None) -> Attempt:
        """The best answer of these or all, where the request allows one that was not accepted."""
        best = best_of(attempts or self.attempts) if self._allows_degraded() else None
        if best is None:
            raise RequestError(status, f"{reason}; no accepted answer")
        best.reason = "degraded"
        return best

    def _allows_degraded(self) -> bool:
        allowed = self._active.controls.allow_degraded
        return self._config.routing.allow_degraded if allowed is None else allowed
