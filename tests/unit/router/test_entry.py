"""Where a climb begins when the entry is predicted."""

from typing import Any

import pytest

from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    FakeLimits,
    FakeRequest,
    make_cascade,
    make_request,
)
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.entry.models import make_chance, make_model
from tests.unit.router.asking import GOOD, THREE, WEAK

PREDICTED = make_cascade("small", "middle", "large", entry="predicted")
# The fake engine's ids are those of the letters: "a" is for the small tier, "b" for the middle one.
SCORER = EntryScorer(make_model(make_chance(0.5, [ord("a")]), make_chance(0.5, [ord("b")])))


def climb(
    engine: FakeEngine,
    request: FakeRequest,
    controls: Controls | None = None,
    config: CascadeConfig = PREDICTED,
) -> list[dict[str, Any]]:
    """What the answers say of their way, one each."""

    async def main() -> list[dict[str, Any]]:
        router = make_router(config, engine, entry_model=SCORER)
        given = router.answer(request, None, controls or Controls(), ResponseSummary())
        items = [item async for item in given]
        answers = items if request.is_single else items[0]
        return [answer["meta_info"]["cascadia"] for answer in answers]

    return run_in_virtual_time(main())


def test_an_entry_model_alone_predicts_nothing() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    (story,) = climb(engine, make_request("c"), config=THREE)
    assert engine.visits == [0]
    assert "entry" not in story


@pytest.mark.parametrize(
    ("text", "visits", "entry"),
    [("a", [0, 1, 2], "small"), ("b", [1, 2], "middle"), ("c", [2], "large")],
)
def test_a_climb_begins_where_the_prompt_says_and_goes_on_from_there(
    text: str, visits: list[int], entry: str
) -> None:
    engine = FakeEngine(WEAK, WEAK, WEAK)
    (story,) = climb(engine, make_request(text))
    assert engine.visits == visits
    assert story["entry"] == entry
    assert [attempt["tier"] for attempt in story["attempts"]] == [
        THREE.tiers[visit].name for visit in visits
    ]


def test_a_good_answer_of_the_entry_tier_goes_out_at_once() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    (story,) = climb(engine, make_request("b"))
    assert engine.visits == [1]
    assert (story["tier"], story["attempts"][0]["reason"]) == ("middle", "accepted")


def test_the_entry_tier_knows_no_score_of_a_tier_before() -> None:
    engine = FakeEngine(WEAK, WEAK, WEAK)
    climb(engine, make_request("b"))
    assert [run.order.earlier_scores for run in engine.runs] == [(None,), (None, 0.3)]


def test_every_prompt_of_a_batch_has_its_own_entry() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    stories = climb(engine, make_request("a", "b", "c"))
    assert [story["entry"] for story in stories] == ["small", "middle", "large"]


@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_a_pinned_tier_is_not_predicted(pinned: int) -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    (story,) = climb(engine, make_request("b"), Controls(tier=pinned))
    assert engine.visits == [pinned]
    assert story["entry"] == THREE.tiers[pinned].name


def test_the_highest_tier_allowed_is_never_passed_over() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    climb(engine, make_request("c"), Controls(max_tier=1))
    assert engine.visits == [1]


def test_a_tier_too_short_for_the_prompt_is_no_entry() -> None:
    engine = FakeEngine(
        GOOD, GOOD, GOOD, limits=[FakeLimits(), FakeLimits(input_tokens=5), FakeLimits()]
    )
    (story,) = climb(engine, make_request("b"))
    assert engine.visits == [2]
    assert story["entry"] == "large"
    assert [attempt["reason"] for attempt in story["attempts"]] == ["too_long", "last_tier"]


def test_a_prompt_of_unknown_length_begins_at_the_first_tier() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    climb(engine, make_request("c", prompt_tokens=None))
    assert engine.visits == [0]


def test_an_answer_that_cannot_be_judged_comes_from_the_entry_tier() -> None:
    judge = JudgeConfig(on_constrained="accept")
    config = make_cascade("small", "middle", "large", judge=judge, entry="predicted")
    engine = FakeEngine(GOOD, GOOD, GOOD)
    (story,) = climb(engine, make_request("b", judgeable=False), config=config)
    assert engine.visits == [1]
    assert story["attempts"][0]["reason"] == "unjudged"


def test_an_entry_tier_without_a_worker_is_passed_over_upward() -> None:
    engine = FakeEngine(GOOD, None, GOOD)
    (story,) = climb(engine, make_request("b"))
    assert (story["entry"], story["tier"]) == ("middle", "large")
