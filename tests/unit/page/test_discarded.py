"""Texts of discarded answers: of requests that were named beforehand alone, and read once."""

from cascadia_sglang.page.discarded import MOST_REQUESTS, DiscardedAnswers
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_request
from tests.unit.router.asking import GOOD, TWO, ask

WEAK = Reply(score=0.3, text="a weak answer")


def test_a_named_request_shows_what_was_discarded_once() -> None:
    answers = DiscardedAnswers(["small", "large"])
    answers.want("mine")
    ask(FakeEngine(WEAK, GOOD), TWO, make_request(rid="mine"), others=[answers])
    (attempt,) = answers.take("mine")
    assert attempt["tier"] == "small"
    assert attempt["reason"] == "below_threshold"
    assert attempt["score"] == 0.3
    assert attempt["text"].startswith("a weak answer")
    assert answers.take("mine") == []


def test_nothing_of_other_requests_is_kept() -> None:
    answers = DiscardedAnswers(["small", "large"])
    answers.want("mine")
    ask(FakeEngine(WEAK, GOOD), TWO, make_request(rid="theirs"), others=[answers])
    assert answers.take("theirs") == []
    assert answers.take("mine") == []


def test_a_later_request_under_the_same_id_adds_nothing() -> None:
    answers = DiscardedAnswers(["small", "large"])
    answers.want("mine")
    theirs = Reply(score=0.3, text="an answer to another client")
    for reply in (WEAK, theirs, theirs):
        ask(FakeEngine(reply, GOOD), TWO, make_request(rid="mine"), others=[answers])
    assert [attempt["text"].startswith("a weak answer") for attempt in answers.take("mine")] == [
        True
    ]


def test_a_few_requests_are_kept_at_a_time() -> None:
    answers = DiscardedAnswers(["small", "large"])
    for number in range(MOST_REQUESTS + 1):
        answers.want(f"request-{number}")
    ask(FakeEngine(WEAK, GOOD), TWO, make_request(rid="request-0"), others=[answers])
    ask(FakeEngine(WEAK, GOOD), TWO, make_request(rid="request-1"), others=[answers])
    assert answers.take("request-0") == []
    assert len(answers.take("request-1")) == 1
