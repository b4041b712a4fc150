"""What the page knows of requests: as the router counts them, without their content, bounded."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from cascadia_sglang.page.traffic_log import MOST_ATTEMPTS, REQUESTS, WINDOW, TrafficLog
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.events import PromptFinished
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_request
from cascadia_sglang.testing.services import make_prompt
from tests.unit.router.asking import GOOD, THREE, TWO, WEAK, ask


def logged(engine: FakeEngine, config: Any = TWO, **how: Any) -> TrafficLog:
    log = TrafficLog([tier.name for tier in config.tiers])
    ask(engine, config, others=[log], **how)
    return log


def test_a_climb_is_counted_with_its_reason_and_kept_as_it_went() -> None:
    log = logged(FakeEngine(WEAK, WEAK, GOOD), THREE)
    assert {flow: n for flow, n in log.flows.items() if "tokens" not in flow[0]} == {
        ("arrived",): 1,
        ("entry", "small"): 1,
        ("climb", "small", "middle", "below_threshold"): 1,
        ("climb", "middle", "large", "below_threshold"): 1,
        ("answer", "large", "last_tier"): 1,
    }
    (request,) = log.requests_after(0)
    assert (request.tier, request.path) == ("large", "small>middle>large")
    assert (request.reason, request.rid, request.number) == ("last_tier", "caller", 1)
    assert [attempt.score for attempt in request.attempts] == [0.3, 0.3, 0.9]
    starts = [attempt.start_s for attempt in request.attempts]
    assert None not in starts
    assert starts == sorted(starts)  # type: ignore[type-var]
    ends = [(attempt.start_s or 0.0) + attempt.seconds for attempt in request.attempts]
    assert ends[-1] <= request.seconds + 1e-5


def test_tokens_add_up_to_those_of_the_attempts() -> None:
    log = logged(FakeEngine(WEAK, GOOD))
    attempts = log.requests_after(0)[0].attempts
    assert log.flows["tokens", "small", "discarded"] == attempts[0].tokens
    assert log.flows["tokens", "large", "answered"] == attempts[1].tokens


def test_no_text_of_a_prompt_or_an_answer_is_kept() -> None:
    log = logged(
        FakeEngine(Reply(score=0.9, text="an answer to nobody else"), GOOD),
        request=make_request("a secret question"),
    )
    encoded = msgspec.json.encode(log.requests_after(0)).decode()
    assert "secret" not in encoded
    assert "nobody" not in encoded
    assert json.loads(encoded)[0]["rid"] == "caller"


def test_an_error_is_counted_by_its_status_and_kept() -> None:
    log = logged(FakeEngine(None, None))
    (request,) = log.requests_after(0)
    assert request.tier is None
    assert request.reason == "error_503"
    assert log.flows["error", "503"] == 1
    refused = logged(FakeEngine(GOOD, GOOD), is_admitting=False)
    assert refused.flows == {("error", "503"): 1}
    assert refused.requests_after(0) == []


def test_the_window_holds_what_came_the_cascades_own_way() -> None:
    log = logged(FakeEngine(Reply(score=0.7), GOOD))
    (entry,) = log.entries
    assert entry.score == 0.7
    assert list(log.scores[0]) == [0.7]
    for controls in (Controls(tier=0), Controls(threshold=0.1)):
        assert not logged(FakeEngine(GOOD, GOOD), controls=controls).entries
    assert not logged(FakeEngine(GOOD, GOOD), request=make_request(samples=2)).entries


def finished(number: int) -> PromptFinished:
    prompt = make_prompt(make_request(rid=f"request-{number}"), THREE)
    attempts = [
        Attempt(
            tier_index=tier,
            outputs=[{"meta_info": {"prompt_tokens": 40}, "text": "x" * 5_000}],
            score=0.5,
            tokens=20,
            reason="below_threshold",
            started_s=float(number),
            seconds=0.5,
        )
        for tier in (0, 1, 2)
        for _ in range(10)
    ]
    return PromptFinished(
        prompt=prompt, attempts=attempts, chosen=attempts[-1], error=None, at_s=number + 1.0
    )


@pytest.mark.parametrize("times", [3 * REQUESTS])
def test_memory_is_bounded(times: int) -> None:
    """A part of the figure in the guide, as is the memory of the latency counts and of the rows."""
    now = [0.0]
    log = TrafficLog(["small", "middle", "large"], wall=lambda: now[0])
    tracemalloc.start()
    try:
        for number in range(times):
            now[0] += 20.0
            log.prompt_arrived(0.0)
            log.prompt_finished(finished(number))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2_000_000
    requests = log.requests_after(0)
    assert [request.number for request in requests] == list(range(times - REQUESTS + 1, times + 1))
    assert len(log.requests_after(times - 3)) == 3
    assert all(len(request.attempts) == MOST_ATTEMPTS for request in requests)
    assert all(len(scores) <= WINDOW for scores in log.scores)
