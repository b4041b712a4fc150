"""The events of a prompt, and observers that cost no request."""

import pytest

from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.events import Observers, PromptEscalated, PromptFinished
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_request
from tests.unit.router.asking import GOOD, TWO, WEAK, ask


class Noting:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        self.escalations: list[PromptEscalated] = []
        self.ends: list[PromptFinished] = []

    def prompt_arrived(self, at_s: float) -> None:
        self.arrivals.append(at_s)

    def prompt_escalated(self, event: PromptEscalated) -> None:
        self.escalations.append(event)

    def prompt_finished(self, event: PromptFinished) -> None:
        self.ends.append(event)


class Failing(Noting):
    """Fails at whatever it hears."""

    def prompt_arrived(self, at_s: float) -> None:
        raise KeyError(at_s)

    def prompt_escalated(self, event: PromptEscalated) -> None:
        raise KeyError(event)

    def prompt_finished(self, event: PromptFinished) -> None:
        raise KeyError(event)


def test_a_prompt_is_announced_from_its_arrival_to_its_end() -> None:
    noting = Noting()
    ask(FakeEngine(WEAK, GOOD), others=[noting])
    (arrived_s,) = noting.arrivals
    (escalated,) = noting.escalations
    (finished,) = noting.ends
    assert [attempt.tier_index for attempt in escalated.attempts] == [0]
    assert [attempt.tier_index for attempt in finished.attempts] == [0, 1]
    assert finished.chosen is finished.attempts[1]
    assert finished.error is None
    assert finished.status == 200
    assert escalated.prompt is finished.prompt
    assert arrived_s == finished.prompt.arrived_s
    assert 0.0 <= escalated.seconds <= finished.seconds
    assert finished.ttft_s == finished.seconds


def test_the_prompts_of_a_batch_have_ids_of_their_own() -> None:
    noting = Noting()
    ask(FakeEngine(GOOD, GOOD), request=make_request("a", "b", "c"), others=[noting])
    assert len({event.prompt.prompt_id for event in noting.ends}) == 3


def test_an_error_is_announced_with_the_status_of_the_request() -> None:
    noting = Noting()
    ask(FakeEngine(Reply(error=ValueError("too long")), GOOD), others=[noting])
    (finished,) = noting.ends
    assert finished.chosen is None
    assert finished.status == 400


def test_a_client_with_a_way_of_its_own_is_announced_so() -> None:
    noting = Noting()
    ask(FakeEngine(GOOD, GOOD), controls=Controls(tier=0), others=[noting])
    assert not noting.ends[0].prompt.is_own_way
    ask(FakeEngine(GOOD, GOOD), controls=Controls(max_tier=0), others=[noting])
    assert noting.ends[1].prompt.is_own_way


def test_observers_that_fail_cost_no_request_and_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = make_request("a", "b")
    answer = ask(FakeEngine(WEAK, GOOD), TWO, request, others=[Failing()])
    assert answer.error is None
    assert [item["text"] for item in answer.items[0]] == ["a by tier 1", "b by tier 1"]
    # Once for each event, not for each prompt.
    assert len(caplog.records) == 3
    assert answer.router is not None
    assert answer.router.services.counts.answered == [0, 2]


def test_the_first_tenth_and_hundredth_failure_of_an_observer_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observers = Observers([Failing()])
    for _ in range(100):
        observers.arrived(0.0)
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == [
        "1",
        "10",
        "100",
    ]
