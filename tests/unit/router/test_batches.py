"""Several samples, several prompts, streams."""

import pytest

from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    Reply,
    make_request,
)
from tests.unit.router.asking import FOREVER, GOOD, WEAK, ask

# Several samples


@pytest.mark.parametrize(
    ("scores", "visits"),
    [([1.0, 0.6], [0, 0]), ([1.0, 0.5], [0, 0, 1, 1]), ([0.9, None], [0, 0, 1, 1])],
    ids=["mean-at-the-threshold", "mean-below", "one-without-a-score"],
)
def test_samples_are_accepted_together_by_their_mean_score(
    scores: list[float | None], visits: list[int]
) -> None:
    engine = FakeEngine([Reply(score=score) for score in scores], GOOD)
    ask(engine, request=make_request(samples=2))
    assert engine.visits == visits


def test_one_sample_that_was_ended_early_makes_the_prompt_climb() -> None:
    engine = FakeEngine([Reply(score=1.0), Reply(score=1.0, early_abort=True)], GOOD)
    answer = ask(engine, request=make_request(samples=2))
    story = answer.items[0][0]["meta_info"]["cascadia"]
    assert [attempt["reason"] for attempt in story["attempts"]] == ["early_abort", "last_tier"]


def test_samples_come_back_as_a_list_in_order_under_the_callers_rids() -> None:
    engine = FakeEngine([Reply(score=0.9, seconds=2.0, tokens=1), Reply(score=0.9, tokens=2)], GOOD)
    answer = ask(engine, request=make_request(samples=2))
    (items,) = answer.items
    assert [item["meta_info"]["id"] for item in items] == ["caller_0", "caller_1"]
    assert [item["meta_info"]["completion_tokens"] for item in items] == [1, 2]
    assert answer.summary.attempts == 2


def test_a_lost_sample_ends_the_others_and_the_prompt_climbs_whole() -> None:
    engine = FakeEngine([Reply(lost=True, seconds=1.0), FOREVER], GOOD)
    answer = ask(engine, request=make_request(samples=2))
    assert [run.end for run in engine.runs] == ["lost", "cancelled", "answered", "answered"]
    assert len(answer.items[0]) == 2


# Batches


def test_a_batch_comes_back_in_order_whatever_finishes_first() -> None:
    replies = {"slow": Reply(score=0.9, seconds=5.0), "hard": WEAK, "easy": GOOD}
    answer = ask(FakeEngine(replies, GOOD), request=make_request("slow", "hard", "easy"))
    (items,) = answer.items
    assert [item["text"] for item in items] == [
        "slow by tier 0",
        "hard by tier 1",
        "easy by tier 0",
    ]
    assert [item["meta_info"]["id"] for item in items] == ["caller_0", "caller_1", "caller_2"]
    assert answer.seconds == 5.0


def test_a_batch_tells_its_highest_tier_and_all_attempts_but_no_score() -> None:
    easy = Reply(score=0.9, tokens=2, seconds=5.0)  # accepted after the hard one
    replies = {"hard": Reply(score=0.3, tokens=1), "easy": easy}
    engine = FakeEngine(replies, Reply(score=0.7, tokens=10))
    answer = ask(engine, request=make_request("hard", "easy"))
    assert answer.summary == ResponseSummary(
        tier_index=1, score=None, attempts=3, tokens=13, is_counted=True
    )


def test_a_prompt_that_fails_fails_its_batch_and_ends_the_others() -> None:
    refusal = ValueError("no")
    engine = FakeEngine({"bad": Reply(error=refusal, seconds=1.0), "long": FOREVER}, GOOD)
    answer = ask(engine, request=make_request("bad", "long"))
    assert answer.error is refusal
    assert [run.end for run in engine.runs] == ["failed", "cancelled"]


# Streams


def test_a_streamed_request_gets_its_accepted_answer_as_one_item() -> None:
    answer = ask(FakeEngine(WEAK, GOOD), request=make_request(stream=True))
    assert [item["text"] for item in answer.items] == ["question by tier 1"]


def test_a_streamed_batch_yields_each_answer_when_accepted_with_its_place() -> None:
    replies = {"slow": Reply(score=0.9, seconds=5.0), "easy": GOOD}
    answer = ask(FakeEngine(replies, GOOD), request=make_request("slow", "easy", stream=True))
    assert [(item["index"], item["text"]) for item in answer.items] == [
        (1, "easy by tier 0"),
        (0, "slow by tier 0"),
    ]


def test_samples_of_a_streamed_batch_are_numbered_prompt_by_prompt() -> None:
    request = make_request("one", "two", samples=2, stream=True)
    answer = ask(FakeEngine(GOOD, GOOD), request=request)
    places = {item["meta_info"]["id"]: item["index"] for item in answer.items}
    assert places == {"caller_0": 0, "caller_1": 1, "caller_2": 2, "caller_3": 3}


def test_samples_of_one_streamed_prompt_are_numbered() -> None:
    answer = ask(FakeEngine(GOOD, GOOD), request=make_request(samples=2, stream=True))
    assert [item["index"] for item in answer.items] == [0, 1]


def test_a_streamed_batch_has_no_score_either() -> None:
    request = make_request("one", "two", stream=True)
    assert ask(FakeEngine(GOOD, GOOD), request=request).summary.score is None
