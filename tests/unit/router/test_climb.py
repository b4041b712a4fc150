"""One prompt on its way through the tiers."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import JudgeConfig
from cascadia_sglang.errors import AttemptMovedError, OverloadError
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    FakeLimits,
    FakeRequest,
    Reply,
    make_cascade,
    make_request,
)
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.router.asking import FOREVER, GOOD, THREE, TWO, WEAK, after, ask

# Accept and escalate


def test_a_good_answer_of_the_first_tier_goes_out_at_once() -> None:
    engine = FakeEngine(GOOD, GOOD)
    answer = ask(engine)
    assert engine.visits == [0]
    assert answer.text == "question by tier 0"
    assert answer.items[0]["meta_info"]["id"] == "caller"
    assert answer.story == {
        "tier": "small",
        "tier_index": 0,
        "score": 0.9,
        "calibrated": True,
        "attempts": [
            {
                "tier": "small",
                "score": 0.9,
                "calibrated": True,
                "tokens": 4,
                "cached_tokens": 0,
                "seconds": pytest.approx(0.0, abs=1.0),
                "reason": "accepted",
            }
        ],
    }


@pytest.mark.parametrize(
    ("score", "visits"),
    [(0.8, [0]), (0.8 - 1e-12, [0, 1]), (0.0, [0, 1]), (1.0, [0])],
    ids=["at", "just-below", "zero", "one"],
)
def test_a_score_at_the_threshold_is_accepted(score: float, visits: list[int]) -> None:
    engine = FakeEngine(Reply(score=score), GOOD)
    ask(engine)
    assert engine.visits == visits


def test_a_weak_answer_is_replaced_by_the_next_tiers() -> None:
    engine = FakeEngine(Reply(score=0.3, tokens=7), Reply(score=0.5, tokens=5))
    answer = ask(engine)
    assert answer.text == "question by tier 1"
    assert answer.reasons == [("small", "below_threshold"), ("large", "last_tier")]
    assert answer.summary == ResponseSummary(
        tier_index=1,
        score=0.5,
        calibrated=True,
        attempts=2,
        tokens=12,
        reason="last_tier",
        is_counted=True,
    )


@pytest.mark.parametrize("score", [0.0, None], ids=["score-0", "no-score"])
def test_the_last_tier_is_never_judged(score: float | None) -> None:
    answer = ask(FakeEngine(WEAK, Reply(score=score)))
    assert answer.reasons[-1] == ("large", "last_tier")
    assert answer.story["score"] == score


def test_a_single_tier_answers_as_the_last() -> None:
    answer = ask(FakeEngine(WEAK), make_cascade("only"))
    assert answer.reasons == [("only", "last_tier")]


def test_every_tier_has_its_own_threshold() -> None:
    config = make_cascade("small", "middle", "large", thresholds=[0.9, 0.4])
    engine = FakeEngine(Reply(score=0.5), Reply(score=0.5), GOOD)
    ask(engine, config)
    assert engine.visits == [0, 1]
    assert [run.order.threshold for run in engine.runs] == [0.9, 0.4]


def test_the_scores_of_all_tiers_before_are_handed_on() -> None:
    engine = FakeEngine(Reply(score=0.3), Reply(score=0.4), GOOD)
    ask(engine, THREE)
    assert [run.order.earlier_scores for run in engine.runs] == [(), (0.3,), (0.3, 0.4)]


def test_no_score_is_known_of_a_tier_that_ended_early_or_was_skipped() -> None:
    early = Reply(score=0.02, early_abort=True)
    short = FakeLimits(context_tokens=5, input_tokens=5)
    engine = FakeEngine(early, Reply(score=0.4), GOOD)
    ask(engine, THREE)
    assert [run.order.earlier_scores for run in engine.runs] == [(), (None,), (None, 0.4)]
    engine = FakeEngine(GOOD, Reply(score=0.4), GOOD, limits=[short, FakeLimits(), FakeLimits()])
    ask(engine, THREE)
    assert [run.order.earlier_scores for run in engine.runs] == [(None,), (None, 0.4)]


def test_a_pinned_tier_knows_no_score_of_the_tiers_before() -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    ask(engine, THREE, controls=Controls(tier=2))
    assert [run.order.earlier_scores for run in engine.runs] == [(None, None)]


@pytest.mark.parametrize(
    ("on_error", "reasons"),
    [
        ("escalate", [("small", "judge_error"), ("large", "last_tier")]),
        ("accept", [("small", "judge_error")]),
    ],
)
def test_an_answer_without_a_score_goes_where_the_cascade_says(
    on_error: Any, reasons: list[tuple[str, str]]
) -> None:
    config = make_cascade("small", "large", judge=JudgeConfig(on_error=on_error))
    assert ask(FakeEngine(Reply(score=None), GOOD), config).reasons == reasons


def test_counters_tell_who_answered_and_who_passed_on() -> None:
    async def main() -> CascadeRouter:
        engine = FakeEngine({"easy": GOOD, "hard": WEAK}, GOOD)
        router = make_router(TWO, engine)
        for text in ("easy", "hard", "hard"):
            async for _ in router.answer(make_request(text), None, Controls(), ResponseSummary()):
                pass
        return router

    router = run_in_virtual_time(main())
    assert router.services.counts.answered == [1, 2]
    assert router.services.counts.escalated == [2, 0]


def test_the_engines_own_errors_pass_unchanged() -> None:
    refusal = ValueError("the input is too long")
    answer = ask(FakeEngine(Reply(error=refusal), GOOD))
    assert answer.error is refusal


# Controls


@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_a_pinned_tier_answers_alone_whatever_its_score(pinned: int) -> None:
    engine = FakeEngine(WEAK, WEAK, WEAK)
    answer = ask(engine, THREE, controls=Controls(tier=pinned))
    assert engine.visits == [pinned]
    assert answer.reasons == [(THREE.tiers[pinned].name, "pinned")]


def test_a_pinned_tier_without_a_worker_is_not_replaced() -> None:
    answer = ask(FakeEngine(None, GOOD), controls=Controls(tier=0))
    assert answer.status == 503


def test_the_highest_tier_allowed_answers_as_the_last() -> None:
    engine = FakeEngine(WEAK, WEAK, GOOD)
    answer = ask(engine, THREE, controls=Controls(max_tier=1))
    assert engine.visits == [0, 1]
    assert answer.reasons[-1] == ("middle", "last_tier")


def test_a_threshold_of_the_request_holds_for_every_tier() -> None:
    engine = FakeEngine(Reply(score=0.85), Reply(score=0.95), GOOD)
    ask(engine, THREE, controls=Controls(threshold=0.95))
    assert engine.visits == [0, 1]
    assert {run.order.threshold for run in engine.runs} == {0.95}


# Early abort


def test_an_answer_that_the_judge_ended_goes_on() -> None:
    engine = FakeEngine(Reply(score=0.01, early_abort=True), GOOD)
    answer = ask(engine)
    assert answer.reasons == [("small", "early_abort"), ("large", "last_tier")]


@pytest.mark.parametrize(
    ("request_", "controls", "expected"),
    [
        (make_request(), Controls(), [0.05, None]),
        (make_request(samples=2), Controls(), [None] * 4),
        (make_request(), Controls(tier=0), [None]),
        (make_request(), Controls(max_tier=0), [None]),
        (make_request(), Controls(threshold=0.5), [0.05, None]),
    ],
    ids=["climb", "two-samples", "pinned", "only-tier", "own-threshold"],
)
def test_only_a_single_sample_below_the_last_tier_may_be_ended_early(
    request_: FakeRequest, controls: Controls, expected: list[float | None]
) -> None:
    engine = FakeEngine(WEAK, WEAK)
    ask(engine, request=request_, controls=controls)
    assert [run.order.early_abort for run in engine.runs] == expected


def test_nothing_is_ended_early_at_threshold_0() -> None:
    engine = FakeEngine(GOOD, GOOD)
    ask(engine, controls=Controls(threshold=0.0))
    assert [run.order.early_abort for run in engine.runs] == [None]


def test_early_abort_can_be_switched_off() -> None:
    engine = FakeEngine(GOOD, GOOD)
    ask(engine, make_cascade("small", "large", early_abort=None))
    assert [run.order.early_abort for run in engine.runs] == [None]


# Deadline, attempts, degraded answers


def test_a_deadline_that_passes_is_a_504_and_ends_the_attempt() -> None:
    engine = FakeEngine(WEAK, FOREVER)
    answer = ask(engine, controls=Controls(deadline_s=3.0))
    assert answer.status == 504
    assert answer.seconds == 3.0
    assert [run.end for run in engine.runs] == ["answered", "cancelled"]


@pytest.mark.parametrize(
    ("configured", "headers", "expected"),
    [(5.0, 2.0, 2.0), (2.0, 5.0, 2.0), (2.0, None, 2.0), (None, 5.0, 5.0)],
    ids=["header-tightens", "header-cannot-extend", "config-alone", "header-alone"],
)
def test_the_tighter_of_two_deadlines_holds(
    configured: float | None, headers: float | None, expected: float
) -> None:
    config = make_cascade("small", "large", deadline_s=configured)
    answer = ask(FakeEngine(FOREVER, GOOD), config, controls=Controls(deadline_s=headers))
    assert answer.seconds == expected


def test_the_deadline_covers_all_tiers_together() -> None:
    engine = FakeEngine(Reply(score=0.3, seconds=2.0), Reply(score=0.3, seconds=2.0), GOOD)
    answer = ask(engine, THREE, controls=Controls(deadline_s=3.0))
    assert (answer.status, answer.seconds) == (504, 3.0)


def test_a_degraded_answer_is_the_best_complete_one() -> None:
    engine = FakeEngine(Reply(score=0.5), Reply(score=0.3), FOREVER)
    answer = ask(engine, THREE, controls=Controls(deadline_s=3.0, allow_degraded=True))
    assert answer.text == "question by tier 0"
    assert answer.reasons == [
        ("small", "degraded"),
        ("middle", "below_threshold"),
        ("large", "deadline"),
    ]
    assert (answer.summary.tier_index, answer.summary.score) == (0, 0.5)


CUT = Controls(deadline_s=3.0, allow_degraded=True)


@pytest.mark.parametrize(
    ("first", "reasons"),
    [
        (Reply(score=None, tokens=1), [("small", "degraded"), ("large", "deadline")]),
        (
            Reply(score=0.04, early_abort=True, tokens=9),
            [("small", "degraded"), ("large", "deadline")],
        ),
        (
            Reply(score=0.04, early_abort=True, tokens=3),
            [("small", "early_abort"), ("large", "degraded")],
        ),
        (Reply(lost=True), [("small", "tier_unavailable"), ("large", "degraded")]),
    ],
    ids=["complete-without-score", "longest-was-ended-early", "longest-runs", "lost"],
)
def test_without_a_rated_answer_what_is_written_so_far_goes_out_at_the_deadline(
    first: Reply, reasons: list[tuple[str, str]]
) -> None:
    answer = ask(FakeEngine(first, FOREVER), controls=CUT)
    assert (answer.reasons, answer.seconds) == (reasons, 3.0)
    is_whole = first.score is None and not first.lost
    expected = "stop" if is_whole else "length"
    assert answer.items[0]["meta_info"]["finish_reason"]["type"] == expected


def test_nothing_written_is_nothing_to_serve() -> None:
    answer = ask(FakeEngine(Reply(score=0.9, seconds=1e6, tokens=0), GOOD), controls=CUT)
    assert (answer.status, answer.seconds) == (504, 3.0)


def test_a_run_that_does_not_end_at_the_deadline_is_given_a_second_and_no_more() -> None:
    engine = FakeEngine(FOREVER, GOOD)
    engine.abort = lambda _: None  # type: ignore[method-assign]
    answer = ask(engine, controls=CUT)
    assert (answer.status, answer.seconds) == (504, 4.0)


def test_a_request_that_takes_no_degraded_answer_ends_at_the_deadline() -> None:
    engine = FakeEngine(FOREVER, GOOD)
    answer = ask(engine, controls=Controls(deadline_s=3.0, allow_degraded=False))
    assert (answer.status, answer.seconds) == (504, 3.0)
    assert engine.runs[0].end == "cancelled"


@pytest.mark.parametrize(
    ("configured", "header", "is_served"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
    ids=["config-yes", "config-no", "header-no", "header-yes"],
)
def test_the_header_decides_over_the_config_whether_degraded_answers_go_out(
    configured: bool, header: bool | None, is_served: bool
) -> None:
    config = make_cascade("small", "large", allow_degraded=configured, deadline_s=1.0)
    answer = ask(FakeEngine(WEAK, FOREVER), config, controls=Controls(allow_degraded=header))
    assert (answer.error is None) == is_served


def test_max_attempts_ends_the_climb() -> None:
    config = make_cascade("small", "middle", "large", max_attempts=2)
    engine = FakeEngine(WEAK, WEAK, GOOD)
    answer = ask(engine, config)
    assert answer.status == 503
    assert engine.visits == [0, 1]


def test_max_attempts_may_end_in_a_degraded_answer() -> None:
    config = make_cascade("small", "middle", "large", max_attempts=2, allow_degraded=True)
    answer = ask(FakeEngine(WEAK, Reply(score=0.6), GOOD), config)
    assert answer.reasons == [("small", "below_threshold"), ("middle", "degraded")]


def test_a_tier_that_was_skipped_is_no_attempt() -> None:
    config = make_cascade("small", "large", max_attempts=1)
    engine = FakeEngine(GOOD, GOOD, limits=[FakeLimits(input_tokens=5), FakeLimits()])
    answer = ask(engine, config)
    assert answer.error is None
    assert engine.visits == [1]


# Lost workers


@pytest.mark.parametrize("first", [None, Reply(lost=True)], ids=["no-worker", "lost-on-the-way"])
def test_a_tier_that_is_not_available_is_passed_over(first: Reply | None) -> None:
    answer = ask(FakeEngine(first, GOOD))
    assert answer.reasons == [("small", "tier_unavailable"), ("large", "last_tier")]


def test_a_lost_attempt_runs_again_on_another_worker_of_its_tier() -> None:
    engine = FakeEngine([Reply(lost=True), GOOD], GOOD, workers=[2, 1])
    answer = ask(engine)
    assert engine.visits == [0, 0]
    assert answer.reasons == [("small", "worker_lost"), ("small", "accepted")]
    assert len({run.rid for run in engine.runs}) == 2


def test_an_attempt_that_was_moved_runs_again_and_counts_for_nothing() -> None:
    config = make_cascade("small", "large", max_attempts=1)
    moved = Reply(error=AttemptMovedError("small-0 was to give it up"))
    engine = FakeEngine([moved, moved, GOOD], GOOD)
    answer = ask(engine, config)
    assert engine.visits == [0, 0, 0]
    assert answer.reasons == [("small", "accepted")]
    assert len({run.rid for run in engine.runs}) == 3


def test_attempts_that_were_lost_cost_nothing() -> None:
    config = make_cascade("small", "large", max_attempts=2)
    engine = FakeEngine([Reply(lost=True)] * 5, WEAK, workers=[5, 1])
    answer = ask(engine, config)
    assert engine.visits == [0, 0, 0, 0, 0, 1]
    lost = [("small", "worker_lost")] * 4
    assert answer.reasons == [*lost, ("small", "tier_unavailable"), ("large", "last_tier")]


@pytest.mark.parametrize(
    ("max_attempts", "visits"), [(2, [0, 1]), (3, [0, 0, 1]), (4, [0] * 3 + [1])]
)
def test_attempts_that_failed_count_and_leave_one_for_each_tier_above(
    max_attempts: int, visits: list[int]
) -> None:
    config = make_cascade("small", "large", max_attempts=max_attempts)
    engine = FakeEngine(Reply(failed=True), GOOD)
    answer = ask(engine, config)
    assert engine.visits == visits
    assert answer.reasons[-2:] == [("small", "tier_unavailable"), ("large", "last_tier")]


def test_a_request_whose_workers_were_all_lost_waits_for_one_to_come_back() -> None:
    engine = FakeEngine([Reply(lost=True), GOOD], Reply(lost=True))
    answer = ask(engine, meanwhile=after(3.0, lambda _: engine.come_back(0)))
    assert (engine.visits, answer.seconds) == ([0, 1, 0], 3.0)
    assert answer.reasons[-1] == ("small", "accepted")


def test_a_request_waits_for_the_next_tier_once_it_has_an_answer() -> None:
    engine = FakeEngine(WEAK, GOOD, workers=[1, 0])
    answer = ask(engine, meanwhile=after(3.0, lambda _: engine.come_back(1)))
    assert (engine.visits, answer.seconds) == ([0, 1], 3.0)


def test_no_worker_in_half_a_minute_is_a_503() -> None:
    engine = FakeEngine(Reply(lost=True), GOOD, workers=[1, 0])
    answer = ask(engine)
    assert (answer.status, answer.seconds) == (503, 30.0)


@pytest.mark.parametrize(("tier", "seconds"), [(None, 10.0), (0, 0.0)], ids=["any", "pinned"])
def test_a_request_that_has_not_begun_waits_shortly_and_a_pinned_one_not(
    tier: int | None, seconds: float
) -> None:
    answer = ask(FakeEngine(None, None), controls=Controls(tier=tier))
    assert (answer.status, answer.seconds) == (503, seconds)


def test_the_wait_for_a_worker_ends_with_the_deadline() -> None:
    engine = FakeEngine(Reply(lost=True), GOOD, workers=[1, 0])
    answer = ask(engine, controls=Controls(deadline_s=2.0))
    assert (answer.status, answer.seconds) == (504, 2.0)


def test_where_all_tiers_are_passed_over_a_ready_worker_is_tried() -> None:
    engine = FakeEngine(GOOD, GOOD, workers=[0, 0])
    engine.passed[0] = "0-7"
    answer = ask(engine)
    assert engine.runs[0].order.worker_id == "0-7"
    assert answer.reasons[-1] == ("small", "accepted")


def test_a_lost_attempt_is_not_run_again_after_the_deadline() -> None:
    lost = Reply(lost=True, seconds=2.0)
    engine = FakeEngine([lost] * 9, GOOD, workers=[9, 1])
    answer = ask(engine, controls=Controls(deadline_s=3.0))
    assert (answer.status, answer.seconds, engine.visits) == (504, 3.0, [0, 0])


def test_a_pinned_tier_is_tried_on_all_its_workers_and_no_other() -> None:
    engine = FakeEngine([Reply(lost=True)] * 2, GOOD, workers=[2, 1])
    assert ask(engine, controls=Controls(tier=0)).status == 503
    assert engine.visits == [0, 0]


def test_no_tier_at_all_is_a_503() -> None:
    assert ask(FakeEngine(None, None)).status == 503


def test_a_lost_last_tier_leaves_the_degraded_answer() -> None:
    answer = ask(FakeEngine(WEAK, None), controls=Controls(allow_degraded=True))
    assert answer.reasons == [("small", "degraded"), ("large", "tier_unavailable")]


# Overload


def test_a_full_tier_is_a_503_and_not_the_next_tiers_load() -> None:
    engine = FakeEngine(Reply(error=OverloadError("tier small is full")), GOOD)
    answer = ask(engine)
    assert (answer.status, engine.visits) == (503, [0])


def test_a_full_tier_leaves_the_degraded_answer() -> None:
    engine = FakeEngine(WEAK, Reply(error=OverloadError("tier large is full")))
    answer = ask(engine, controls=Controls(allow_degraded=True))
    assert answer.reasons == [("small", "degraded"), ("large", "overloaded")]


# Length


@pytest.mark.parametrize(
    ("tokens", "max_new_tokens", "visits"),
    [(9, 1, [0]), (10, 1, [1]), (9, 11, [0]), (9, 12, [1]), (9, None, [0])],
    ids=["fits", "input-at-the-limit", "context-full", "context-over", "no-output-limit"],
)
def test_a_prompt_skips_the_tiers_that_it_does_not_fit(
    tokens: int, max_new_tokens: int | None, visits: list[int]
) -> None:
    limits = [FakeLimits(input_tokens=10, context_tokens=20), FakeLimits()]
    engine = FakeEngine(GOOD, GOOD, limits=limits)
    request = make_request(prompt_tokens=tokens, max_new_tokens=max_new_tokens)
    ask(engine, request=request)
    assert engine.visits == visits


def test_a_skipped_tier_is_told_in_the_story() -> None:
    engine = FakeEngine(GOOD, GOOD, limits=[FakeLimits(input_tokens=5), FakeLimits()])
    assert ask(engine).reasons == [("small", "too_long"), ("large", "last_tier")]


def test_a_prompt_that_fits_only_lower_tiers_is_answered_by_the_highest_of_them() -> None:
    limits = [FakeLimits(), FakeLimits(), FakeLimits(input_tokens=5)]
    engine = FakeEngine(WEAK, WEAK, GOOD, limits=limits)
    answer = ask(engine, THREE)
    assert engine.visits == [0, 1]
    assert answer.reasons[-1] == ("middle", "last_tier")


def test_a_prompt_that_fits_nowhere_gets_the_engines_own_refusal() -> None:
    refusal = ValueError("the input is longer than the context")
    limits = [FakeLimits(input_tokens=5)] * 2
    engine = FakeEngine(GOOD, Reply(error=refusal), limits=limits)
    assert ask(engine).error is refusal
    assert engine.visits == [1]


@pytest.mark.parametrize("unknown", ["length", "limits"])
def test_where_a_length_or_a_limit_is_not_known_every_tier_is_tried(unknown: str) -> None:
    limits = [None, None] if unknown == "limits" else [FakeLimits(input_tokens=5)] * 2
    request = make_request(prompt_tokens=None if unknown == "length" else 10)
    engine = FakeEngine(WEAK, GOOD, limits=limits)
    ask(engine, request=request)
    assert engine.visits == [0, 1]


# Constrained requests


@pytest.mark.parametrize(
    ("on_constrained", "controls", "reasons"),
    [
        ("escalate", Controls(), [("large", "last_tier")]),
        ("escalate", Controls(max_tier=1), [("middle", "last_tier")]),
        ("accept", Controls(), [("small", "unjudged")]),
        ("escalate", Controls(tier=0), [("small", "pinned")]),
    ],
    ids=["escalate", "escalate-to-the-highest-allowed", "accept", "pinned"],
)
def test_a_request_that_cannot_be_judged_goes_where_the_cascade_says(
    on_constrained: Any, controls: Controls, reasons: list[tuple[str, str]]
) -> None:
    config = make_cascade(
        "small", "middle", "large", judge=JudgeConfig(on_constrained=on_constrained)
    )
    engine = FakeEngine(WEAK, WEAK, WEAK)
    answer = ask(engine, config, make_request(judgeable=False), controls)
    assert answer.reasons == reasons
    assert [run.order.early_abort for run in engine.runs] == [None]


# Cut off


@pytest.mark.parametrize(
    ("limit", "contexts", "sampling", "visits"),
    [
        (4, (1000, 1000), {}, [0]),
        (None, (14, 14), {}, [0]),
        (None, (14, 15), {}, [0, 1]),
        (4, (14, 15), {}, [0]),
        (4, (1000, 1000), {"max_new_tokens": 5}, [0, 1]),
        (9, (1000, 1000), {"max_new_tokens": 4}, [0]),
    ],
    ids=["the-clients-limit", "context", "longer-context", "both", "own-limit", "own-lower-limit"],
)
def test_an_answer_that_is_only_cut_off_goes_on_where_there_is_room(
    limit: int | None, contexts: tuple[int, int], sampling: dict[str, Any], visits: list[int]
) -> None:
    """A prompt of 10 tokens, an answer of 4."""
    cut = Reply(score=0.2, uncut_score=0.9, tokens=4)
    limits = [FakeLimits(context_tokens=n, input_tokens=n) for n in contexts]
    engine = FakeEngine(cut, GOOD, limits=limits)
    small, large = TWO.tiers
    large = msgspec.structs.replace(large, sampling=sampling)
    config = msgspec.structs.replace(TWO, tiers=[small, large])
    answer = ask(engine, config, make_request(max_new_tokens=limit))
    assert engine.visits == visits
    assert answer.reasons[0][1] == ("truncated" if visits == [0] else "below_threshold")


# Grammars


@pytest.mark.parametrize(
    ("judged", "on_constrained", "visits", "reason"),
    [
        (frozenset({0, 1}), "escalate", [0], "accepted"),
        (frozenset({1}), "escalate", [1], "accepted"),
        (frozenset({1}), "accept", [0], "unjudged"),
        (frozenset[int](), "escalate", [2], "last_tier"),
        (frozenset[int](), "accept", [0], "unjudged"),
    ],
)
def test_a_request_under_a_grammar_visits_the_tiers_that_can_judge_it(
    judged: frozenset[int], on_constrained: Any, visits: list[int], reason: str
) -> None:
    engine = FakeEngine(GOOD, GOOD, GOOD)
    config = msgspec.structs.replace(THREE, judge=JudgeConfig(on_constrained=on_constrained))
    answer = ask(engine, config, make_request(judgeable=judged))
    assert engine.visits == visits
    assert answer.reasons[-1][1] == reason


# Judges that fail


def test_a_judge_without_a_score_is_counted_where_it_should_have_one() -> None:
    silent = Reply(score=None)
    tiers = [
        msgspec.structs.replace(tier, calibration=calibration)
        for tier, calibration in zip(THREE.tiers, ("a.json", "b.json", None), strict=True)
    ]
    config = msgspec.structs.replace(THREE, tiers=tiers)
    answer = ask(FakeEngine(silent, silent, silent), config)
    assert answer.router.services.counts.judge_errors == [1, 1, 0]
    answer = ask(FakeEngine(silent, silent, silent), config, make_request(judgeable=False))
    assert answer.router.services.counts.judge_errors == [0, 0, 0]
    early = Reply(score=None, early_abort=True)
    answer = ask(FakeEngine(early, GOOD, GOOD), config)
    assert answer.router.services.counts.judge_errors == [0, 0, 0]


# Drift


@pytest.mark.parametrize(
    ("reply", "controls", "samples", "seen"),
    [
        (GOOD, Controls(), 1, 1),
        (WEAK, Controls(), 1, 1),
        (Reply(score=0.01, early_abort=True), Controls(), 1, 0),
        (Reply(score=None), Controls(), 1, 0),
        (GOOD, Controls(threshold=0.1), 1, 0),
        (GOOD, Controls(tier=0), 1, 0),
        (GOOD, Controls(), 2, 0),
    ],
    ids=["accepted", "escalated", "ended-early", "no-score", "own-threshold", "pinned", "samples"],
)
def test_a_watch_sees_scores_of_whole_answers_that_came_the_cascades_own_way(
    reply: Reply, controls: Controls, samples: int, seen: int
) -> None:
    watch: Any = SimpleNamespace(scores=[], add=lambda score, _: watch.scores.append(score))
    router = make_router(TWO, FakeEngine(reply, GOOD))
    router.services.drift.replace(0, watch)

    async def main() -> None:
        request = make_request(samples=samples)
        async for _ in router.answer(request, None, controls, ResponseSummary()):
            pass

    run_in_virtual_time(main())
    assert len(watch.scores) == seen


def test_a_tier_without_a_judge_is_not_passed_over_and_its_answer_is_accepted() -> None:
    """Its speculation hides the logits; the file's checks allow that with `accept` alone."""
    config = make_cascade("small", "middle", "large", judge=JudgeConfig(on_error="accept"))
    middle = msgspec.structs.replace(
        config.tiers[1], server_args={"speculative_algorithm": "DFLASH"}
    )
    config = msgspec.structs.replace(config, tiers=[config.tiers[0], middle, config.tiers[2]])
    engine = FakeEngine(WEAK, Reply(score=None), FOREVER)
    answer = ask(engine, config, make_request(judgeable=frozenset({0, 2})))
    assert answer.reasons == [("small", "below_threshold"), ("middle", "unjudged")]
    assert answer.router is not None
    assert answer.router.services.counts.judge_errors == [0, 0, 0]


# Log-probabilities of the prompt


@pytest.mark.parametrize(
    ("controls", "tier", "reason"),
    [
        (Controls(), "large", "scoring"),
        (Controls(threshold=0.0), "large", "scoring"),
        (Controls(max_tier=1), "middle", "scoring"),
        (Controls(tier=0), "small", "pinned"),
    ],
    ids=["all", "threshold", "limited", "pinned"],
)
def test_a_prompt_is_scored_by_one_tier_alone(controls: Controls, tier: str, reason: str) -> None:
    answer = ask(FakeEngine(GOOD, GOOD, GOOD), THREE, make_request(scoring=True), controls)
    assert answer.reasons == [(tier, reason)]


def test_the_tier_that_scores_is_waited_for_and_has_no_stand_in() -> None:
    engine = FakeEngine(GOOD, Reply(lost=True), limits=[FakeLimits(), FakeLimits()])
    assert ask(engine, request=make_request(scoring=True)).status == 503
    assert engine.visits == [1]
