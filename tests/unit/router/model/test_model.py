"""The router against plain rules: workers lost, aborts, deadlines, moves, overload, in any order.

Hypothesis draws what happens, one event after another, in virtual time. After each the router and
the reference have to agree on every request: where it runs, that it waits, or how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cascadia_sglang.errors import (
    AttemptFailedError,
    AttemptMovedError,
    WorkerLostError,
    http_status,
)
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.events import PromptFinished
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.cascade import make_cascade
from cascadia_sglang.testing.requests import make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import VirtualTimeLoop
from tests.unit.router.model.hand_engine import HandEngine, HandRun
from tests.unit.router.model.reference import FREE, THRESHOLD, Prompt, Reference, Wish

T = TypeVar("T")

NAMES = ("small", "middle", "large")
# No two events come at the same time, and no deadline when a wait ends.
TICK_S = 2.0**-10
WAITS_S = (0.25, 0.25, 2.5, 11.0, 31.0, 61.0)
DEADLINES_S = (1.0003, 13.0003, 13.0003, 45.0003)
STREAMS = ("commit", "commit", None, None, "default", "buffered", "direct")
_TURNS = 25


@dataclass
class Http:
    """What the router asks of an HTTP request."""

    content: bytes
    scope: dict[str, Any] = field(default_factory=lambda: {"path": "/generate"})

    async def body(self) -> bytes:
        return self.content


@dataclass
class Client:
    """What came of a request."""

    task: asyncio.Task[None] = field(init=False)
    items: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    finished: list[PromptFinished] = field(default_factory=list)


class RouterMachine(RuleBasedStateMachine):
    """Tells the router and the reference the same."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.clients: dict[str, Client] = {}

    @initialize(
        tiers=st.sampled_from([3, 3, 2, 1]),
        max_attempts=st.sampled_from([None, None, 3, 2, 1]),
        spare=st.booleans(),
    )
    def start(self, tiers: int, max_attempts: int | None, spare: bool) -> None:
        names = NAMES[:tiers]
        config = make_cascade(
            *names, thresholds=[THRESHOLD] * (tiers - 1), max_attempts=max_attempts
        )
        self.tiers = tiers
        self.engine = HandEngine(tiers)
        self.router = make_router(config, self.engine, others=[self])
        self.reference = Reference(tiers, config.max_attempts())
        self.seen: dict[str, int] = {}  # runs of a request when its client first saw something
        self.named = 0  # requests that were named as the end of two workers
        self.alone: dict[HandRun, int] = {}  # runs of suspects, and who was named when they began
        if spare:
            for tier in range(tiers):
                self.add_worker(tier)

    # What observers hear

    def prompt_finished(self, event: PromptFinished) -> None:
        self.clients[event.prompt.sample.text].finished.append(event)
        self.named += any(one.reason == "poison" for one in event.attempts)

    # What may happen

    @rule(
        wish=st.builds(
            Wish,
            stream=st.sampled_from(STREAMS),
            degraded=st.sampled_from([True, True, False]),
            deadline_s=st.sampled_from([math.inf, math.inf, *DEADLINES_S]),
            tier=st.sampled_from([None] * 6 + [0, 1, 2]),
            body=st.sampled_from([None, b"one", b"other"]),
        ),
        count=st.sampled_from([1, 1, 2, 3]),
    )
    @precondition(lambda self: len(self.going()) < 4)
    def send(self, wish: Wish, count: int) -> None:
        for _ in range(count if wish.tier is None or wish.tier < self.tiers else 0):
            self._send(wish)

    def _send(self, wish: Wish) -> None:
        self.tick()
        name = f"request-{len(self.clients)}"
        client = self.clients[name] = Client()
        controls = Controls(
            tier=wish.tier,
            deadline_s=None if math.isinf(wish.deadline_s) else wish.deadline_s,
            stream=None if wish.stream == "default" else wish.stream,
            allow_degraded=wish.degraded,
        )
        client.task = self.loop.create_task(self._ask(client, name, controls, wish))
        self.reference.send(name, wish)
        self.settle()

    async def _ask(self, client: Client, name: str, controls: Controls, wish: Wish) -> None:
        request = make_request(name, rid=name, stream=wish.stream is not None)
        http = None if wish.body is None else Http(wish.body)
        try:
            async with contextlib.aclosing(
                self.router.answer(request, http, controls, ResponseSummary())
            ) as items:
                async for item in items:
                    client.items.append(item)
        except BaseException as error:  # noqa: BLE001  the machine looks at it
            client.error = error

    @rule(data=st.data(), committed=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.engine.running)
    def say(self, data: st.DataObject, committed: bool) -> None:
        run, prompt = self.some_run(data)
        run.say(committed=committed)
        self.reference.say(prompt, committed=committed)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.engine.running)
    def answer_well(self, data: st.DataObject) -> None:
        self._answer(data, THRESHOLD)

    @rule(data=st.data(), score=st.sampled_from([0.1, 0.3, 0.5]))
    @precondition(lambda self: self.engine.running)
    def answer_weakly(self, data: st.DataObject, score: float) -> None:
        self._answer(data, score)

    @rule(data=st.data())
    @precondition(lambda self: self.engine.running)
    def answer_without_a_score(self, data: st.DataObject) -> None:
        self._answer(data, None)

    def _answer(self, data: st.DataObject, score: float | None) -> None:
        run, prompt = self.some_run(data)
        run.answer(score)
        self.reference.answer(prompt, score)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.hopeless())
    def end_early(self, data: st.DataObject) -> None:
        """The judge gives an attempt up."""
        run, prompt = self.some_run(data, self.hopeless())
        run.answer(0.01, early_abort=True)
        self.reference.answer(prompt, 0.01, early_abort=True)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.engine.running)
    def fail(self, data: st.DataObject) -> None:
        run, prompt = self.some_run(data)
        run.events.put_nowait(AttemptFailedError("the worker failed"))
        self.reference.fail(prompt)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.movable())
    def move(self, data: st.DataObject) -> None:
        run, prompt = self.some_run(data, self.movable())
        run.events.put_nowait(AttemptMovedError("the worker was to give it up"))
        self.reference.move(prompt)
        self.settle()

    @rule(data=st.data(), replaced=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.engine.ready)
    def lose_worker(self, data: st.DataObject, replaced: bool) -> None:
        self.tick()
        worker_id = self.some_worker(data)
        error = WorkerLostError("the worker was lost")
        runs = self.now(lambda: self.engine.lose(worker_id, error))
        self.reference.lose(worker_id, [self.prompt_of(run) for run in runs])
        self.replace(worker_id, replaced)

    @rule(data=st.data(), replaced=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.engine.running)
    def worker_dies(self, data: st.DataObject, replaced: bool) -> None:
        """By an error of its own, which one of its runs may have caused."""
        self.tick()
        worker_id = self.some_worker(data)
        runs = self.now(lambda: self.engine.die(worker_id, self.loop.time()))
        culprits = [run.prompt for run in runs if self.alone.get(run) == self.named]
        self.reference.die(worker_id, [self.prompt_of(run) for run in runs])
        # A suspect that was alone on a worker ends no third one.
        ends = [[one.status for one in self.clients[name].finished] for name in culprits]
        assert ends == [[500]] * len(culprits)
        self.replace(worker_id, replaced)

    @rule(tier=st.integers(0, 2))
    @precondition(lambda self: len(self.engine.ready) < 6)
    def worker_comes(self, tier: int) -> None:
        self.tick()
        self.add_worker(tier % self.tiers)

    @rule(data=st.data())
    @precondition(lambda self: self.going())
    def abort(self, data: st.DataObject) -> None:
        self.tick()
        prompt = self.some_going(data)
        if prompt is not None:
            self.now(lambda: self._abort(prompt.name))
            self.reference.abort(prompt)

    @rule(data=st.data(), is_shutdown=st.sampled_from([False, False, True]))
    @precondition(lambda self: self.going())
    def hang_up(self, data: st.DataObject, is_shutdown: bool) -> None:
        """A client leaves, or the server does."""
        self.tick()
        prompt = self.some_going(data)
        if is_shutdown:
            self.now(self.router.end_all)
            self.reference.shut_down()
        elif prompt is not None:
            self.clients[prompt.name].task.cancel()
            self.settle()
            self.reference.hang_up(prompt)

    @rule(tier=st.integers(0, 2))
    @precondition(lambda self: self.going())
    def overload_or_relieve(self, tier: int) -> None:
        for overloaded in (self.engine.overloaded, self.reference.overloaded):
            overloaded.symmetric_difference_update({tier % self.tiers})

    @rule(seconds=st.sampled_from(WAITS_S))
    @precondition(lambda self: self.going())
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    # What must hold after each

    @invariant()
    def both_agree(self) -> None:
        for name, client in self.clients.items():
            prompt = self.reference.prompts[name]
            assert self.story(name, client) == self.expected(prompt), name

    @invariant()
    def a_request_ends_exactly_once(self) -> None:
        for client in self.clients.values():
            last = [item for item in client.items if item["meta_info"]["finish_reason"]]
            assert len(last) + (client.error is not None) == client.task.done()
            assert not last or client.items[-1] is last[0]
            assert len(client.finished) <= 1

    @invariant()
    def what_a_client_sees_is_of_one_tier_and_none_is_asked_after(self) -> None:
        runs = Counter(run.prompt for run in self.engine.begun)
        for name, client in self.clients.items():
            assert len({item["text"] for item in client.items}) <= 1
            if client.items:
                assert runs[name] == self.seen.setdefault(name, runs[name])

    @invariant()
    def attempts_keep_within_their_budget(self) -> None:
        for client in self.clients.values():
            for event in client.finished:
                counted = [one for one in event.attempts if one.reason not in (*FREE, "poison")]
                # A deadline while it waits is noted as an attempt, and is none.
                waited = sum(one.reason == "deadline" and not one.outputs for one in counted)
                assert len(counted) - waited <= self.reference.max_attempts

    @invariant()
    def no_two_suspects_have_the_same_worker(self) -> None:
        alone = [run for run in self.engine.running.values() if run.order.worker_id is not None]
        for run in alone:
            self.alone.setdefault(run, self.named)
        assert len({run.worker_id for run in alone}) == len(alone)

    @invariant()
    def nothing_is_left_of_what_is_over(self) -> None:
        going = {prompt.name for prompt in self.going()}
        assert {run.prompt for run in self.engine.running.values()} <= going
        assert self.router.active_count == len(going)

    def teardown(self) -> None:
        for client in self.clients.values():
            client.task.cancel()
        self.settle()
        suspects = self.router.services.suspects
        assert not suspects._held
        assert not suspects._waiting
        self.loop.close()

    # Helpers

    def tick(self) -> None:
        self.pass_time(TICK_S)

    def pass_time(self, seconds: float) -> None:
        until = self.loop.time() + seconds
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.reference.pass_time(until)
        self.settle()

    def now(self, act: Callable[[], T]) -> T:
        """Act within the event loop, and let everything happen that follows."""

        async def acting() -> T:
            return act()

        result = self.loop.run_until_complete(acting())
        self.settle()
        return result

    def _abort(self, name: str) -> None:
        for rid in self.router.abort(name) or ():
            self.engine.abort(rid)

    def settle(self) -> None:
        """Let everything happen that needs no time."""

        async def turns() -> None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def replace(self, worker_id: str, is_replaced: bool) -> None:
        """Another worker comes a little later."""
        if is_replaced:
            self.tick()
            self.add_worker(int(worker_id.partition("-")[0]))

    def add_worker(self, tier: int) -> None:
        self.now(lambda: self.engine.add_worker(tier))
        self.reference.add_worker(self.engine.workers(tier)[-1], tier)

    def going(self) -> list[Prompt]:
        return [one for one in self.reference.prompts.values() if one.status is None]

    def hopeless(self) -> list[HandRun]:
        return [run for run in self.engine.running.values() if run.order.early_abort is not None]

    def movable(self) -> list[HandRun]:
        runs = self.engine.running.values()
        return [run for run in runs if not run.tokens and run.order.worker_id is None]

    def prompt_of(self, run: HandRun) -> Prompt:
        return self.reference.prompts[run.prompt]

    def some_run(
        self, data: st.DataObject, among: list[HandRun] | None = None
    ) -> tuple[HandRun, Prompt]:
        runs = list(self.engine.running.values()) if among is None else among
        run = data.draw(st.sampled_from(sorted(runs, key=lambda one: one.rid)))
        return run, self.prompt_of(run)

    def some_going(self, data: st.DataObject) -> Prompt | None:
        """One that waits, where there is such a one; None if time has ended them all."""
        waiting = [one for one in self.going() if one.running is None] or self.going()
        return data.draw(st.sampled_from(waiting)) if waiting else None

    def some_worker(self, data: st.DataObject) -> str:
        """One that runs something, where there is such a one."""
        busy = {run.worker_id for run in self.engine.running.values()} or self.engine.ready
        worker_id: str = data.draw(st.sampled_from(sorted(busy)))
        return worker_id

    def story(self, name: str, client: Client) -> dict[str, Any]:
        """Where a request is, as the router has it."""
        runs = [run for run in self.engine.running.values() if run.prompt == name]
        story: dict[str, Any] = {
            "over": client.task.done(),
            "runs": [(run.tier, run.order.worker_id) for run in runs],
            "visible": len(client.items) > 0,
        }
        if client.finished:
            (event,) = client.finished
            story["status"] = event.status
            story["attempts"] = [(one.tier_index, one.reason) for one in event.attempts]
            story["tier"] = None if event.chosen is None else event.chosen.tier_index
        elif client.task.done():
            assert client.error is not None
            story["status"] = http_status(client.error)
        return story

    def expected(self, prompt: Prompt) -> dict[str, Any]:
        over = prompt.status is not None
        running = [] if prompt.running is None else [(prompt.running, prompt.alone_on)]
        story: dict[str, Any] = {
            "over": over,
            "runs": running,
            "visible": prompt.visible or prompt.status == 200,
        }
        if over:
            story["status"] = prompt.status
            if not prompt.refused:
                story["attempts"] = [(one.tier, one.reason) for one in prompt.tries]
                story["tier"] = None if prompt.chosen is None else prompt.chosen.tier
        return story


TestRouterModel = RouterMachine.TestCase
TestRouterModel.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class LongRouterMachine(RouterMachine):
    """More of the same, other cases than those of the short form."""


TestRouterModelLong = LongRouterMachine.TestCase
TestRouterModelLong.settings = settings(TestRouterModel.settings, max_examples=600, print_blob=True)
TestRouterModelLong = pytest.mark.slow(TestRouterModelLong)
