"""Answers that leave before the whole of them is there."""

from typing import Any

import msgspec
import pytest

from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.judge.calibration import Calibration, PrefixModel
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.stream import Gate
from cascadia_sglang.testing.engine import FakeEngine, Reply, ReplyStep, make_cascade, make_request
from tests.unit.entry.models import make_chance, make_model
from tests.unit.judge.judging import make_calibration
from tests.unit.router.asking import GOOD, TWO, Answer, after, ask

COMMIT, DIRECT = Controls(stream="commit"), Controls(stream="direct")
BUFFERED = Controls(stream="buffered")
HELD, SEEN = ReplyStep(), ReplyStep(committed=True)


def ask_streamed(engine: FakeEngine, controls: Controls = COMMIT, **more: Any) -> Answer:
    request = more.pop("request", None) or make_request(stream=True)
    return ask(engine, request=request, controls=controls, **more)


def texts(answer: Answer) -> list[str]:
    return [item["text"] for item in answer.items]


def test_nothing_is_seen_before_the_judge_commits() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(HELD, HELD, SEEN), seconds=1.0), GOOD)
    answer = ask_streamed(engine)
    assert texts(answer) == ["question by", "question by tier 0"]
    assert {item["meta_info"]["id"] for item in answer.items} == {"caller"}
    assert answer.items[-1]["meta_info"]["cascadia"]["attempts"][0]["reason"] == "committed"


def test_a_held_answer_that_fails_escalates_unseen() -> None:
    weak = Reply(score=0.3, steps=(HELD, HELD))
    answer = ask_streamed(FakeEngine(weak, Reply(score=0.9, steps=(HELD,))))
    assert texts(answer) == ["question by", "question by tier 1"]
    assert answer.summary.tier_index == 1
    reasons = answer.items[-1]["meta_info"]["cascadia"]["attempts"]
    assert [reason["reason"] for reason in reasons] == ["below_threshold", "last_tier"]


def test_a_held_answer_that_holds_goes_out_whole() -> None:
    answer = ask_streamed(FakeEngine(Reply(score=0.9, steps=(HELD,)), GOOD))
    assert texts(answer) == ["question by tier 0"]


def test_a_committed_answer_stays_though_its_score_is_weak() -> None:
    engine = FakeEngine(Reply(score=0.1, steps=(SEEN,)), GOOD)
    assert texts(ask_streamed(engine)) == ["question by", "question by tier 0"]
    assert engine.visits == [0]


def ask_of_a_prompt(text: str, engine: FakeEngine, controls: Controls = COMMIT) -> Answer:
    """Streamed, with an entry model that is sure of the small tier where the prompt is an "a"."""
    config = make_cascade("small", "large", commit_at_once=0.95)
    entry = EntryScorer(make_model(make_chance(0.5, [ord("a")])))
    request = make_request(text, stream=True)
    return ask_streamed(engine, controls, config=config, request=request, entry_model=entry)


def test_an_answer_leaves_at_once_where_the_prompt_is_sure_to_be_answered_well() -> None:
    engine = FakeEngine(Reply(score=0.1, steps=(HELD, HELD)), GOOD)
    answer = ask_of_a_prompt("a", engine)
    assert len(answer.items) == 3
    assert engine.visits == [0]
    assert answer.items[-1]["meta_info"]["cascadia"]["attempts"][0]["reason"] == "committed"
    order = engine.runs[0].order
    assert (order.commit_tokens, order.early_abort) == (None, None)


@pytest.mark.parametrize(
    ("text", "controls"),
    [("b", COMMIT), ("a", Controls(stream="commit", threshold=1.0)), ("a", BUFFERED)],
    ids=["another prompt", "a threshold above the chance", "buffered"],
)
def test_any_other_answer_waits_for_the_judge(text: str, controls: Controls) -> None:
    engine = FakeEngine(Reply(score=0.1, steps=(HELD, HELD)), GOOD)
    answer = ask_of_a_prompt(text, engine, controls)
    assert engine.visits == [0, 1]
    assert texts(answer)[-1] == f"{text} by tier 1"


@pytest.mark.parametrize("controls", [DIRECT, Controls(stream="commit", tier=0)])
def test_a_tier_that_is_final_is_seen_at_once(controls: Controls) -> None:
    engine = FakeEngine(Reply(score=0.1, steps=(HELD, HELD)), GOOD)
    assert len(ask_streamed(engine, controls).items) == 3
    assert engine.visits == [0]
    assert engine.runs[0].order.commit_tokens is None
    assert engine.runs[0].order.early_abort is None


def test_the_order_says_when_to_commit() -> None:
    config = make_cascade("small", "large", stream="commit", commit_tokens=4, commit_chance=0.7)
    engine = FakeEngine(GOOD, GOOD)
    ask(engine, config, make_request(stream=True))
    ask(engine, config, make_request())
    streamed, whole = (run.order for run in engine.runs)
    assert (streamed.commit_tokens, streamed.commit_chance) == (4, 0.7)
    assert whole.commit_tokens is None


def test_a_worker_lost_before_a_byte_was_seen_is_replaced() -> None:
    lost = Reply(lost=True, steps=(HELD,))
    engine = FakeEngine([lost, Reply(score=0.9, steps=(SEEN,))], GOOD, workers=[2, 1])
    assert texts(ask_streamed(engine)) == ["question by", "question by tier 0"]
    assert engine.visits == [0, 0]


def test_a_worker_lost_after_a_byte_was_seen_ends_the_stream_with_an_error() -> None:
    engine = FakeEngine(Reply(lost=True, steps=(SEEN,)), GOOD, workers=[2, 1])
    answer = ask_streamed(engine)
    assert texts(answer) == ["question by"]
    assert answer.status == 503
    assert engine.visits == [0]
    assert answer.summary.is_early


def test_a_deadline_that_passes_after_a_byte_was_seen_is_an_error() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(SEEN,), seconds=9.0), GOOD)
    answer = ask_streamed(engine, Controls(stream="commit", deadline_s=2.0))
    assert (texts(answer), answer.status, answer.seconds) == (["question by"], 504, 2.0)


def test_a_stream_cut_by_the_deadline_ends_as_cut_off_where_a_degraded_answer_is_taken() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(SEEN,), seconds=9.0), GOOD)
    answer = ask_streamed(engine, Controls(stream="commit", deadline_s=2.0, allow_degraded=True))
    assert answer.error is None
    assert answer.seconds == 2.0
    assert answer.items[-1]["meta_info"]["finish_reason"]["type"] == "length"
    assert answer.items[-1]["meta_info"]["cascadia"]["attempts"][0]["reason"] == "degraded"


def test_a_shutdown_ends_a_visible_stream_with_its_own_error() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(SEEN,), seconds=9.0), GOOD)
    answer = ask_streamed(engine, meanwhile=after(3.0, CascadeRouter.end_all))
    assert (len(answer.items), answer.status, answer.seconds) == (1, 503, 3.0)
    assert [run.end for run in engine.runs] == ["cancelled"]


def test_samples_of_a_prompt_wait_for_one_another() -> None:
    request = make_request(samples=2, stream=True)
    replies = [
        Reply(score=0.9, steps=(SEEN,), seconds=5.0),
        Reply(score=0.9, steps=(HELD, HELD, SEEN), seconds=3.0),
    ]
    answer = ask_streamed(FakeEngine(replies, GOOD), request=request)
    assert sorted(item["index"] for item in answer.items) == [0, 0, 1, 1]
    last = {item["index"]: item["text"] for item in answer.items}
    assert set(last.values()) == {"question by tier 0"}


def test_prompts_of_a_batch_are_seen_each_in_its_own_time() -> None:
    tier = {"one": Reply(score=0.9, steps=(SEEN,)), "two": Reply(score=0.2, steps=(HELD,))}
    request = make_request("one", "two", stream=True)
    answer = ask_streamed(FakeEngine(tier, GOOD), request=request)
    seen = [(item["index"], item["text"]) for item in answer.items]
    assert seen[:2] == [(0, "one by"), (0, "one by tier 0")]
    assert seen[-1] == (1, "two by tier 1")


def test_one_prompt_that_fails_ends_the_others() -> None:
    tier = {"one": Reply(lost=True, steps=(SEEN,)), "two": Reply(score=0.9, seconds=50.0)}
    engine = FakeEngine(tier, None)
    answer = ask_streamed(engine, request=make_request("one", "two", stream=True))
    assert answer.status == 503
    assert [run.end for run in engine.runs] == ["lost", "cancelled"]
    assert answer.router is not None
    assert answer.router.active_count == 0


def test_a_request_that_is_not_streamed_is_not_touched_by_the_mode() -> None:
    config = make_cascade("small", "large", stream="direct")
    answer = ask(FakeEngine(Reply(score=0.1), GOOD), config)
    assert answer.text == "question by tier 1"


def test_the_header_decides_over_the_config() -> None:
    config = make_cascade("small", "large", stream="direct")
    engine = FakeEngine(Reply(score=0.1, steps=(HELD,)), GOOD)
    answer = ask(engine, config, make_request(stream=True), BUFFERED)
    assert texts(answer) == ["question by tier 1"]


def with_checkpoints() -> Calibration:
    calibration = make_calibration(0, bias=0.0)
    weights = calibration.weights
    checkpoint = PrefixModel(tokens=4, weights=weights, bias=0.0, residual_sd=1.0)
    return msgspec.structs.replace(calibration, prefix=[checkpoint])


def ask_by_default(engine: FakeEngine, *told_early: int, **more: Any) -> Answer:
    """Streamed, where nobody says how; these tiers' judges tell the chance on the way."""

    calibrations = dict.fromkeys(told_early, with_checkpoints())
    assert TWO.routing.stream is None
    return ask_streamed(engine, Controls(), calibrations=calibrations, **more)


def test_by_default_an_answer_leaves_once_committed_where_the_chance_is_told_on_the_way() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(HELD, HELD, SEEN)), GOOD)
    assert texts(ask_by_default(engine, 0)) == ["question by", "question by tier 0"]
    assert engine.runs[0].order.commit_tokens == TWO.routing.commit_tokens


def test_by_default_any_other_tiers_answer_leaves_whole() -> None:
    engine = FakeEngine(Reply(score=0.9, steps=(SEEN, SEEN)), GOOD)
    assert texts(ask_by_default(engine)) == ["question by tier 0"]
    assert engine.runs[0].order.commit_tokens is None


def test_by_default_the_last_tier_is_seen_as_it_writes() -> None:
    engine = FakeEngine(Reply(score=0.3, steps=(SEEN,)), Reply(steps=(HELD, HELD)))
    assert texts(ask_by_default(engine)) == ["question by", "question by", "question by tier 1"]


def test_by_default_each_tier_goes_by_its_own_judge() -> None:
    weak = Reply(score=0.3, steps=(SEEN,))
    engine = FakeEngine(weak, Reply(score=0.9, steps=(HELD, SEEN)), GOOD)
    answer = ask_by_default(engine, 1, config=make_cascade("small", "middle", "large"))
    assert texts(answer) == ["question by", "question by tier 1"]


@pytest.mark.parametrize("stream", [None, "buffered", "commit", "direct"])
@pytest.mark.parametrize("only", [{"tier": 0}, {"max_tier": 0}, {"tier": 1}])
def test_a_request_that_one_tier_alone_may_answer_is_seen_as_it_is_written(
    stream: str | None, only: dict[str, int]
) -> None:
    slow = Reply(score=0.1, steps=(HELD, HELD, HELD))
    engine = FakeEngine(slow, slow)
    answer = ask_streamed(engine, Controls(stream=stream, **only))
    tier = only.get("tier", 0)
    assert engine.visits == [tier]
    assert texts(answer) == [*["question by"] * 3, f"question by tier {tier}"]


def test_a_cascade_of_one_tier_is_seen_as_it_is_written() -> None:
    engine = FakeEngine(Reply(steps=(HELD,)))
    answer = ask_streamed(engine, BUFFERED, config=make_cascade("only"))
    assert texts(answer) == ["question by", "question by tier 0"]


def test_prompts_of_a_buffered_stream_leave_whole_as_they_are_accepted() -> None:
    tier = {"one": Reply(score=0.9, seconds=5.0), "two": Reply(score=0.9, seconds=2.0)}
    request = make_request("one", "two", stream=True)
    answer = ask_streamed(FakeEngine(tier, GOOD), BUFFERED, request=request)
    assert [(item["index"], item["text"]) for item in answer.items] == [
        (1, "two by tier 0"),
        (0, "one by tier 0"),
    ]


def test_held_outputs_that_continue_one_another_go_out_with_the_last() -> None:
    def output(text: str) -> dict[str, Any]:
        return {"text": text, "output_ids": [len(text)], "meta_info": {"logprobs": [text]}}

    gate = Gate(sink=None, rids=["caller"], is_incremental=True)  # type: ignore[arg-type]
    gate.take(0, output("a"), False)
    gate.take(0, output("bc"), False)
    assert gate.whole(0, output("d")) == {
        "text": "abcd",
        "output_ids": [1, 2, 1],
        "meta_info": {"logprobs": ["a", "bc", "d"]},
    }
