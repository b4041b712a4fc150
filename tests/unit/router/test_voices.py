"""A prompt on its way through tiers of several tokenizers and templates."""

import asyncio
from typing import Any

import pytest

from cascadia_sglang.config.routing_settings import DraftsConfig
from cascadia_sglang.config.settings import JudgeConfig
from cascadia_sglang.entry.model import EntryScorer
from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.poison_requests import Assignment, Death, Suspect
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    FakeLimits,
    Reply,
    make_cascade,
    make_request,
)
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.entry.models import make_chance, make_model
from tests.unit.router.asking import GOOD, THREE, TWO, WEAK, Answer, ask

EARLY = Reply(score=0.1, early_abort=True)


def other_last(*replies: Any, **engine: Any) -> FakeEngine:
    """An engine whose last tier has a tokenizer of its own."""
    tokenizers = [0] * (len(replies) - 1) + [1]
    return FakeEngine(*replies, tokenizers=tokenizers, **engine)


def reasons(answer: Answer) -> list[tuple[str, str]]:
    assert answer.error is None, answer.error
    return answer.reasons


# Tokens


def test_a_prompt_that_does_not_escalate_is_tokenised_once() -> None:
    engine = other_last(GOOD, GOOD)
    ask(engine)
    assert engine.tokenised == [("question", 0)]


def test_an_escalation_is_tokenised_once_for_each_tokenizer() -> None:
    engine = FakeEngine(WEAK, WEAK, WEAK, GOOD, tokenizers=[0, 1, 0, 1])
    ask(engine, make_cascade("a", "b", "c", "d"))
    assert engine.visits == [0, 1, 2, 3]
    assert engine.tokenised == [("question", 0), ("question", 1)]


def test_a_pinned_tier_is_asked_in_its_own_tokens_alone() -> None:
    engine = other_last(GOOD, GOOD)
    ask(engine, controls=Controls(tier=1))
    assert engine.tokenised == [("question", 1)]


# Length


@pytest.mark.parametrize(
    ("first", "tier_tokens", "most", "expected"),
    [
        (10, 10, 25, [("small", "below_threshold"), ("large", "last_tier")]),
        # Where it may not fit, it is counted before it begins, so the small tier is the last.
        (13, 24, 25, [("large", "too_long"), ("small", "last_tier")]),
        (13, 20, 25, [("small", "below_threshold"), ("large", "last_tier")]),
        # Against all odds: the small tier has answered by then.
        (5, 30, 25, [("small", "last_tier"), ("large", "too_long")]),
    ],
    ids=["fits", "counted-and-too-long", "counted-and-fits", "more-than-twice-as-long"],
)
def test_a_tiers_own_tokens_decide_what_fits_it(
    first: int, tier_tokens: int, most: int, expected: list[tuple[str, str]]
) -> None:
    limits = [FakeLimits(), FakeLimits(input_tokens=most - 1)]
    engine = other_last(WEAK, GOOD, limits=limits)
    answer = ask(engine, request=make_request(prompt_tokens=first, tokens_of={1: tier_tokens}))
    assert reasons(answer) == expected


def test_an_answer_that_was_given_up_is_given_again_where_no_tier_above_has_room() -> None:
    limits = [FakeLimits(), FakeLimits(input_tokens=25)]
    engine = other_last([EARLY, GOOD], GOOD, limits=limits)
    answer = ask(engine, request=make_request(prompt_tokens=5, tokens_of={1: 30}))
    assert reasons(answer) == [
        ("small", "early_abort"),
        ("large", "too_long"),
        ("small", "last_tier"),
    ]
    assert answer.text == "question by tier 0"
    assert engine.runs[1].order.early_abort is None


def test_a_prompt_that_fits_no_tier_gets_the_engines_own_refusal() -> None:
    refusal = ValueError("the input is longer than the context")
    limits = [FakeLimits(input_tokens=3)] * 2
    engine = other_last(GOOD, Reply(error=refusal), limits=limits)
    answer = ask(engine, request=make_request(prompt_tokens=10, tokens_of={1: 12}))
    assert answer.error is refusal
    assert engine.visits == [1]


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [
        # Ten tokens of the first tier are twenty of the second one.
        (10, 20, "truncated"),
        (10, 21, "below_threshold"),
    ],
)
def test_a_cut_off_answer_is_measured_in_the_next_tiers_tokens(
    tokens: int, limit: int, expected: str
) -> None:
    cut = Reply(score=0.3, uncut_score=0.9, tokens=tokens)
    engine = other_last(cut, GOOD)
    answer = ask(engine, request=make_request(max_new_tokens=limit))
    assert reasons(answer)[0] == ("small", expected)


# Prompts that a tier cannot be asked


def test_a_tier_whose_template_refuses_the_prompt_is_passed_over() -> None:
    engine = FakeEngine(WEAK, GOOD, GOOD, tokenizers=[0, 1, 2])
    answer = ask(engine, THREE, request=make_request(unreadable=frozenset({1})))
    assert reasons(answer) == [
        ("small", "below_threshold"),
        ("middle", "unreadable"),
        ("large", "last_tier"),
    ]


def test_where_the_tiers_above_cannot_be_asked_the_last_answer_goes_out() -> None:
    engine = other_last(WEAK, GOOD)
    answer = ask(engine, request=make_request(unreadable=frozenset({1})))
    assert reasons(answer) == [("small", "last_tier"), ("large", "unreadable")]
    assert answer.summary.tier_index == 0
    assert answer.router is not None
    # It went out: nobody counts it as one that was not good enough.
    assert answer.router.services.counts.escalated[0] == 0


def test_a_tier_that_cannot_be_asked_is_no_attempt() -> None:
    engine = FakeEngine(WEAK, GOOD, tokenizers=[1, 0])
    config = make_cascade("small", "large", max_attempts=1)
    answer = ask(engine, config, request=make_request(bears_ids=True))
    assert reasons(answer) == [("small", "other_tokenizer"), ("large", "last_tier")]


def test_a_prompt_that_no_tier_can_be_asked_is_a_400() -> None:
    engine = other_last(WEAK, GOOD)
    answer = ask(engine, request=make_request(unreadable=frozenset({0, 1})))
    assert answer.status == 400
    assert str(answer.error) == "tier 1 takes no such prompt"


# Token ids


@pytest.mark.parametrize(
    ("tokenizers", "visits", "skipped"),
    [
        ([0, 1, 0], [0, 2], ["middle"]),
        ([0, 1, 1], [0], ["middle", "large"]),
        ([0, 0, 1], [0, 1], ["large"]),
        ([0, 0, 0], [0, 1, 2], []),
    ],
)
def test_token_ids_visit_the_tiers_of_their_tokenizer_alone(
    tokenizers: list[int], visits: list[int], skipped: list[str]
) -> None:
    engine = FakeEngine(WEAK, WEAK, WEAK, tokenizers=tokenizers)
    answer = ask(engine, THREE, request=make_request(bears_ids=True))
    assert engine.visits == visits
    assert [t for t, reason in reasons(answer) if reason == "other_tokenizer"] == skipped
    assert reasons(answer)[-1][1] == "last_tier"
    assert {tokenizer for _, tokenizer in engine.tokenised} == {0}


def test_scores_of_token_ids_come_from_the_highest_tier_that_reads_them() -> None:
    engine = other_last(WEAK, WEAK, WEAK)
    ask(engine, THREE, request=make_request(bears_ids=True, scoring=True))
    assert engine.visits == [1]
    engine = other_last(WEAK, WEAK, WEAK)
    ask(engine, THREE, request=make_request(scoring=True))
    assert engine.visits == [2]


# Constraints of a tier's own


def test_a_tier_that_its_own_parser_constrains_is_not_judged() -> None:
    engine = FakeEngine(WEAK, WEAK, GOOD, tokenizers=[0, 1, 1])
    config = make_cascade("a", "b", "c", judge=JudgeConfig(on_constrained="accept"))
    answer = ask(engine, config, request=make_request(judgeable=frozenset({0})))
    assert reasons(answer) == [("a", "below_threshold"), ("b", "unjudged")]


# Drafts


READ_ALL = DraftsConfig(use="on")


def test_a_draft_is_translated_into_the_tokens_of_the_tier_that_reads_it() -> None:
    engine = other_last(Reply(score=0.3, tokens=3), Reply(tokens=8, kept=4))
    answer = ask(engine, make_cascade("small", "large", drafts=READ_ALL))
    assert engine.runs[1].order.draft == (0, 100, 1, 101, 2, 102)
    attempt = answer.story["attempts"][1]
    assert (attempt["kept"], attempt["tokens"]) == (4, 4)


def test_a_whole_draft_in_other_tokens_is_verified() -> None:
    engine = other_last(Reply(score=0.3, tokens=3), Reply(tokens=6, kept=6))
    answer = ask(engine, make_cascade("small", "large", drafts=READ_ALL))
    assert reasons(answer)[1] == ("large", "verified")


# Entry


def test_an_entry_model_reads_the_first_tiers_tokens() -> None:
    scorer = EntryScorer(make_model(make_chance(0.5, [ord("a")]), make_chance(0.5, [ord("b")])))
    config = make_cascade("small", "middle", "large", entry="predicted")
    engine = FakeEngine(WEAK, WEAK, GOOD, tokenizers=[0, 1, 2])
    ask(engine, config, request=make_request("b"), entry_model=scorer)
    assert engine.visits == [1, 2]
    assert [tokenizer for _, tokenizer in engine.tokenised] == [0, 1, 2]


def test_prices_are_those_of_each_tiers_own_prompt() -> None:
    engine = other_last(GOOD, GOOD)
    engine.tier_seconds = [9.0, 1.0]
    ask(engine, make_cascade("small", "large", entry="priced"))
    assert engine.visits == [1]
    assert engine.priced == [(0, ord("q")), (1, ord("q") + 1)]


def test_a_cascade_of_one_voice_looks_at_no_tier_again() -> None:
    engine = FakeEngine(WEAK, WEAK, GOOD)
    ask(engine, THREE)
    assert engine.tokenise_calls == 1


# Suspects


def test_a_suspect_that_is_late_before_its_attempt_leaves_the_worker_to_others() -> None:
    """The small tier's only worker dies of it; the large tier's prompt is not made in time."""
    engine = other_last(Reply(dies=True), GOOD, tokenise_seconds=20.0)
    free: list[Assignment | None] = []

    async def main() -> None:
        router = make_router(TWO, engine)
        controls = Controls(deadline_s=30.0)
        with pytest.raises(RequestError, match="deadline passed"):
            async for _ in router.answer(make_request(), None, controls, ResponseSummary()):
                pass
        suspects, other = router.services.suspects, Suspect()
        suspects.accuse(other, Death("small-9", [], asyncio.get_running_loop().time()))
        async with asyncio.timeout(5.0):
            free.append(await suspects.assign(other, [1]))

    run_in_virtual_time(main())
    assert engine.tokenised[0] == ("question", 0)
    assert free == [Assignment(1, "1-0")]
