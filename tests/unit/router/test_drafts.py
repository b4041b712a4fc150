"""Which answers that were not good enough go on as drafts."""

from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.routing_settings import DraftsConfig
from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Translation
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_cascade, make_request
from tests.unit.router.asking import Answer, ask

READ_ALL = DraftsConfig(use="on")
TWO = make_cascade("small", "large", drafts=READ_ALL)
THREE = make_cascade("small", "middle", "large", drafts=READ_ALL)
WEAK = Reply(score=0.3, tokens=4)
LAST = Reply(tokens=6, kept=3)


def ask_reading(engine: FakeEngine, config: CascadeConfig = TWO, **options: Any) -> Answer:
    return ask(engine, config, **options)


def drafts(engine: FakeEngine) -> list[tuple[int, ...]]:
    return [run.order.draft for run in engine.runs]


def test_the_last_tier_is_given_the_answer_that_was_not_good_enough() -> None:
    engine = FakeEngine(WEAK, LAST)
    answer = ask_reading(engine)
    assert drafts(engine) == [(), (0, 1, 2, 3)]
    last = answer.story["attempts"][1]
    assert (last["reason"], last["kept"]) == ("last_tier", 3)


def test_what_was_kept_was_not_generated() -> None:
    answer = ask_reading(FakeEngine(WEAK, LAST))
    assert [attempt["tokens"] for attempt in answer.story["attempts"]] == [4, 3]
    assert answer.summary.tokens == 7
    assert "kept" not in answer.items[0]["meta_info"]


def test_a_draft_that_is_the_larger_tiers_own_answer_is_verified() -> None:
    answer = ask_reading(FakeEngine(WEAK, Reply(tokens=4, kept=4)))
    assert answer.reasons[1] == ("large", "verified")
    longer = ask_reading(FakeEngine(WEAK, Reply(tokens=9, kept=4)))
    assert longer.reasons[1] == ("large", "last_tier")


def test_every_later_tier_is_given_the_answer_before() -> None:
    engine = FakeEngine(WEAK, Reply(score=0.2, tokens=2, kept=2), LAST)
    answer = ask_reading(engine, THREE)
    assert drafts(engine) == [(), (0, 1, 2, 3), (0, 1)]
    assert answer.reasons[1] == ("middle", "below_threshold")


def test_a_tier_that_gave_nothing_leaves_the_draft_before_it() -> None:
    engine = FakeEngine(WEAK, None, LAST)
    ask_reading(engine, THREE)
    assert drafts(engine)[-1] == (0, 1, 2, 3)


def test_without_the_setting_no_draft_goes_along() -> None:
    engine = FakeEngine(WEAK, LAST)
    answer = ask(engine, make_cascade("small", "large"))
    assert drafts(engine) == [(), ()]
    assert "kept" not in answer.story["attempts"][1]


@pytest.mark.parametrize(
    ("sample", "samples"), [({"takes_draft": False}, 1), ({}, 2)], ids=["not-greedy", "two"]
)
def test_a_request_whose_answer_might_differ_is_bypassed(sample: dict, samples: int) -> None:
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, request=make_request(samples=samples, **sample))
    assert not any(drafts(engine))


def test_a_recording_server_reads_drafts_too() -> None:
    config = make_cascade("small", "large", drafts=READ_ALL, judge=JudgeConfig(record=True))
    engine = FakeEngine(Reply(score=None, tokens=4), LAST)
    ask_reading(engine, config)
    assert drafts(engine) == [(), (0, 1, 2, 3)]


def test_a_pinned_tier_has_no_draft() -> None:
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, controls=Controls(tier=1))
    assert drafts(engine) == [()]


def test_an_attempt_that_was_lost_with_a_draft_runs_again_without_one() -> None:
    engine = FakeEngine(WEAK, [Reply(lost=True), LAST], workers=[1, 2])
    ask_reading(engine)
    assert drafts(engine) == [(), (0, 1, 2, 3), ()]


def test_a_worker_that_reads_none_answers_as_ever() -> None:
    engine = FakeEngine(WEAK, Reply(tokens=6))
    answer = ask_reading(engine)
    assert answer.story["attempts"][1]["tokens"] == 6
    assert answer.router is not None
    assert answer.router.services.drafts.counts[1].read == 0


def test_what_was_kept_decides_on_the_next_draft() -> None:
    config = make_cascade("small", "large", drafts="auto")
    engine = FakeEngine(WEAK, Reply(tokens=6, kept=0))
    engine.break_even = 0.6
    ask_reading(engine, config)
    assert drafts(engine) == [(), ()]
    engine.break_even = 0.4
    answer = ask_reading(engine, config)
    assert drafts(engine)[-1] == (0, 1, 2, 3)
    assert answer.router is not None
    assert answer.router.services.drafts.counts[1].read_tokens == 4


# The second judge


def confirming(*names: str, high: float | None = 0.8, rated_by: tuple[int, ...]) -> CascadeConfig:
    """A cascade whose tiers of these indices have a second judge."""
    config = make_cascade(*names, drafts=DraftsConfig(use="on", second_judge=high))
    tiers = [
        msgspec.structs.replace(tier, draft_calibration="x" if index in rated_by else None)
        for index, tier in enumerate(config.tiers)
    ]
    return msgspec.structs.replace(config, tiers=tiers)


def test_a_confirmed_draft_is_the_answer_of_whatever_tier() -> None:
    config = confirming("small", "middle", "large", rated_by=(1, 2))
    read = Reply(score=0.2, tokens=4, kept=4, draft_score=0.8)
    answer = ask_reading(FakeEngine(WEAK, read, LAST), config)
    assert answer.reasons == [("small", "below_threshold"), ("middle", "verified")]
    assert answer.story["score"] == 0.8
    assert answer.story["attempts"][1]["draft_score"] == 0.8


def test_a_draft_that_is_not_confirmed_is_judged_as_any_answer() -> None:
    config = confirming("small", "middle", "large", rated_by=(1, 2))
    read = Reply(score=0.2, tokens=4, kept=4, draft_score=0.79)
    answer = ask_reading(FakeEngine(WEAK, read, LAST), config)
    assert answer.reasons[1] == ("middle", "below_threshold")
    assert answer.story["attempts"][1]["score"] == 0.2
    assert answer.reasons[2] == ("large", "last_tier")


def orders(config: CascadeConfig, *replies: Reply, **options: Any) -> list[float | None]:
    """What every attempt is told of confirming."""
    engine = FakeEngine(*replies)
    ask_reading(engine, config, **options)
    return [run.order.confirm_at for run in engine.runs]


@pytest.mark.parametrize(
    ("threshold", "confirm_at"), [(None, 0.8), (0.5, 0.8), (0.95, 0.95)], ids=str
)
def test_a_clients_own_threshold_can_only_raise_it(
    threshold: float | None, confirm_at: float
) -> None:
    config = confirming("small", "large", rated_by=(1,))
    thresholds = orders(config, WEAK, LAST, controls=Controls(threshold=threshold))
    assert thresholds == [None, confirm_at]


def test_without_a_second_judge_nothing_is_confirmed() -> None:
    assert orders(confirming("small", "large", high=None, rated_by=(1,)), WEAK, LAST)[1] is None
    assert orders(confirming("small", "large", rated_by=()), WEAK, LAST)[1] is None


def test_a_draft_from_further_below_is_read_and_not_confirmed() -> None:
    """The second judge was fitted on drafts of the tier just below."""
    config = confirming("small", "middle", "large", rated_by=(1, 2))
    engine = FakeEngine(WEAK, None, LAST)
    ask_reading(engine, config)
    assert drafts(engine)[-1] == (0, 1, 2, 3)
    assert engine.runs[-1].order.confirm_at is None


def test_a_draft_that_is_not_the_judged_answer_is_read_and_not_confirmed() -> None:
    engine = FakeEngine(WEAK, LAST)

    async def translated(*_: object) -> Translation:
        return Translation(token_ids=(7, 8), is_exact=False)

    engine.translated = translated  # type: ignore[method-assign]
    ask_reading(engine, confirming("small", "large", rated_by=(1,)))
    assert drafts(engine)[-1] == (7, 8)
    assert engine.runs[-1].order.confirm_at is None


# The client's prediction


def test_a_prediction_is_the_draft_of_the_first_tier() -> None:
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, controls=Controls(prediction="abc"))
    # The next tier is given the first one's answer, which has read it.
    assert drafts(engine) == [tuple(b"abc"), (0, 1, 2, 3)]


def test_a_pinned_tier_is_given_the_prediction() -> None:
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, controls=Controls(tier=1, prediction="abc"))
    assert drafts(engine) == [tuple(b"abc")]


def test_a_prediction_is_no_draft_that_a_second_judge_knows() -> None:
    config = confirming("small", "large", rated_by=(1,))
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, config, controls=Controls(tier=1, prediction="abc"))
    assert [run.order.confirm_at for run in engine.runs] == [None]


@pytest.mark.parametrize("prediction", [None, ""])
def test_without_a_prediction_the_first_tier_has_no_draft(prediction: str | None) -> None:
    engine = FakeEngine(WEAK, LAST)
    ask_reading(engine, controls=Controls(prediction=prediction))
    assert drafts(engine)[0] == ()


def test_where_drafts_are_off_a_prediction_does_nothing() -> None:
    engine = FakeEngine(WEAK, LAST)
    ask(engine, make_cascade("small", "large"), controls=Controls(prediction="abc"))
    assert drafts(engine) == [(), ()]


def test_a_prediction_that_is_not_worth_reading_is_not_tokenised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = FakeEngine(WEAK, LAST)
    engine.break_even = 1.0
    tokenised: list[str] = []

    async def token_ids(text: str, _tier_index: int) -> list[int]:
        tokenised.append(text)
        return [1]

    monkeypatch.setattr(engine, "token_ids", token_ids)
    config = make_cascade("small", "large", drafts="auto")
    ask_reading(engine, config, controls=Controls(prediction="abc"))
    assert tokenised == []
    engine.break_even = 0.0
    ask_reading(engine, config, controls=Controls(prediction="abc"))
    assert tokenised == ["abc"]
