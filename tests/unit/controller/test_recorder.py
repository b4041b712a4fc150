"""The router tells of every prompt that comes and of what became of it."""

import asyncio
import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.controller.monitor import Monitor, RecordedRequest, Timing
from cascadia_sglang.controller.recorder import TrafficRecorder
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from tests.unit.router.asking import GOOD, TWO, WEAK, ask

READING = make_cascade("small", "large", drafts="on")


def recorded(
    *replies, controls: Controls | None = None
) -> tuple[Monitor, RecordedRequest, ResponseSummary]:
    """Ask once; what the monitor holds then."""
    monitor = Monitor(Timing(), time.monotonic())
    router = make_router(TWO, FakeEngine(*replies), others=[TrafficRecorder(monitor)])
    router.set_thresholds(router.config.routing.thresholds, 2)
    outcome = ResponseSummary()

    async def ask() -> None:
        async for _ in router.answer(make_request(), None, controls or Controls(), outcome):
            pass

    asyncio.run(ask())
    now = time.monotonic()
    assert len(monitor.span(now - 60.0, now).arrivals_s_N) == 1
    (request,) = monitor.requests(now - 60.0, now)
    return request, monitor, outcome


def test_a_climb_is_told_visit_by_visit():
    request, monitor, outcome = recorded(WEAK, GOOD)
    assert [(visit.tier_index, visit.score) for visit in request.visits] == [(0, 0.3), (1, 0.9)]
    assert request.seconds >= 0.0
    assert outcome.gear == 2
    summary = monitor.summary(time.monotonic(), ["small", "large"])
    assert {name: tier["attempts"] for name, tier in summary["tiers"].items()} == {
        "small": 1,
        "large": 1,
    }
    assert summary["tiers"]["small"]["score"] == pytest.approx(0.3)


def test_of_an_answer_that_began_with_a_draft_both_parts_are_told():
    """What was kept is in its length, and told apart, for the planner to price."""
    monitor = Monitor(Timing(), time.monotonic())

    engine = FakeEngine(dataclasses.replace(WEAK, tokens=4), Reply(tokens=6, kept=3))
    ask(engine, READING, others=[TrafficRecorder(monitor)])
    (request,) = monitor.requests(0.0, time.monotonic() + 60.0)
    token_counts = [(visit.output_tokens, visit.kept_tokens) for visit in request.visits]
    assert token_counts == [(4, None), (6, 3)]


@pytest.mark.parametrize("controls", [Controls(tier=0), Controls(threshold=0.1)])
def test_scores_of_requests_with_a_way_of_their_own_are_left_out(controls):
    request, _, _ = recorded(WEAK, GOOD, controls=controls)
    assert [visit.score for visit in request.visits] == [None]


def test_a_prompt_is_known_while_the_larger_tier_still_works_on_it():
    """Or a queue there would hide from the monitor what fills it."""
    monitor = Monitor(Timing(), time.monotonic())
    engine = FakeEngine(WEAK, dataclasses.replace(GOOD, seconds=30.0))
    router = make_router(TWO, engine, others=[TrafficRecorder(monitor)])

    async def ask() -> None:
        async for _ in router.answer(make_request(), None, Controls(), ResponseSummary()):
            pass

    async def check_prompt() -> None:
        task = asyncio.create_task(ask())
        while len(engine.visits) < 2:
            await asyncio.sleep(0.001)
        (seen,) = monitor.climbing()
        assert [(visit.tier_index, visit.score) for visit in seen.visits] == [(0, 0.3)]
        assert monitor.unseen == 0
        assert monitor.seconds(0.0, time.monotonic() + 1.0) == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert monitor.climbing() == []
        assert len(monitor.seconds(0.0, time.monotonic() + 1.0)) == 1

    asyncio.run(check_prompt())


def attempt(tier: int, prompt_tokens: int, cached_tokens: int) -> Any:
    meta = {"prompt_tokens": prompt_tokens, "cached_tokens": cached_tokens}
    return SimpleNamespace(
        tier_index=tier,
        score=0.5,
        early_abort=False,
        tokens=4,
        kept_tokens=None,
        seconds=0.5,
        outputs=[{"meta_info": meta}],
    )


def test_every_visit_has_its_prompt_in_the_tokens_of_its_tier():
    """Another tokenizer makes another number of them; the request's is that of its first tier."""
    monitor = Monitor(Timing(), 0.0)
    prompt = SimpleNamespace(prompt_id=1, is_own_way=True)
    attempts = [attempt(0, 40, 0), attempt(1, 60, 30)]
    event: Any = SimpleNamespace(prompt=prompt, attempts=attempts, at_s=9.0, seconds=1.0)
    TrafficRecorder(monitor).prompt_finished(event)
    (request,) = monitor.requests(0.0, 10.0)
    assert request.input_tokens == 40
    assert [visit.prompt_tokens for visit in request.visits] == [40, 60]
    by_tier = monitor.summary(10.0, ["small", "large"])["tiers"]
    assert [by_tier[name]["prompt_tokens"] for name in ("small", "large")] == [40.0, 60.0]
