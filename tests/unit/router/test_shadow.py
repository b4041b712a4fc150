"""A share of the accepted answers is given by the last tier too, and nobody waits for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import PlannerConfig
from cascadia_sglang.judge.watch.agreement import AgreementWatch
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.feedback.shadow import DEADLINE_S, MOST_AT_A_TIME
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import (
    FakeEngine,
    FakeRequest,
    Reply,
    ReplyStep,
    make_cascade,
    make_request,
)
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.judge.judging import make_calibration

SMALL = Reply(score=0.9, text="fifty  six")
SLOW = Reply(seconds=5.0)


class ShadowRun:
    """A router after some requests, each sent when the one before was answered."""

    def __init__(
        self,
        *tiers: Reply | Sequence[Reply] | None,
        requests: int = 1,
        rate: float = 1.0,
        controls: Controls | None = None,
        request: FakeRequest | None = None,
        stop_after: float | None = None,
        idle_after: float = 0.0,
    ) -> None:
        """`idle_after` seconds no worker of the last tier has anything to do."""
        self.engine = FakeEngine(*tiers)
        names = ("small", "middle", "large")[-len(tiers) :]
        config = msgspec.structs.replace(
            make_cascade(*names), planner=PlannerConfig(shadow_rate=rate)
        )
        self.watch = AgreementWatch(None)

        async def main() -> None:
            now = asyncio.get_running_loop().time
            router = make_router(config, self.engine, is_last_tier_idle=lambda: now() >= idle_after)
            router.services.shadow.watches[0] = self.watch
            self.counts = router.services.shadow.counts
            self.labelled = router.services.shadow.labelled
            for number in range(requests):
                sent = request or make_request(rid=f"caller-{number}")
                given = router.answer(sent, None, controls or Controls(), ResponseSummary())
                self.items: list[Any] = [item async for item in given]
            self.answered_s = asyncio.get_running_loop().time()
            self.active = router.active_count
            if stop_after is not None:
                await asyncio.sleep(stop_after)
                router.end_all()
            await asyncio.sleep(2 * DEADLINE_S)

        run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("last", "outcome", "agreed"),
    [("fifty six", "agreed", 1), ("fifty seven", "differed", 0)],
)
def test_an_accepted_answer_is_given_again_after_it_went_out(
    last: str, outcome: str, agreed: int
) -> None:
    run = ShadowRun(SMALL, Reply(seconds=5.0, text=last))
    assert run.items[0]["text"] == SMALL.text
    assert (run.answered_s, run.active) == (0.0, 0)
    assert run.counts == {(0, outcome): 1}
    assert {tier: list(scores) for tier, scores in run.labelled.items()} == {
        0: [(0.9, agreed == 1)]
    }
    now = run.watch.state().now
    assert (now.agreed, now.answers) == (agreed, 1)
    first, second = run.engine.runs
    assert second.order.tier_index == 1
    assert second.order.early_abort is None
    assert not second.rid.startswith(first.rid)
    assert not first.rid.startswith(second.rid)


def test_a_score_of_an_earlier_calibration_is_not_compared_with_the_active_one() -> None:
    config = msgspec.structs.replace(
        make_cascade("small", "large"), planner=PlannerConfig(shadow_rate=1.0)
    )

    async def main() -> None:
        router = make_router(config, FakeEngine(SMALL, SLOW), is_last_tier_idle=lambda: True)
        shadow = router.services.shadow
        shadow.watch(0, make_calibration(0, 0.0))
        async for _ in router.answer(make_request(), None, Controls(), ResponseSummary()):
            pass
        await asyncio.sleep(1.0)
        shadow.watch(0, make_calibration(0, 0.0))
        await asyncio.sleep(DEADLINE_S)
        assert shadow.counts.total() == 1
        assert shadow.labelled == {}
        assert shadow.watches[0].state().now.answers == 0

    run_in_virtual_time(main())


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_the_rate_is_that_of_the_accepted_answers(rate: float) -> None:
    run = ShadowRun(SMALL, Reply(), requests=400, rate=rate)
    assert run.counts.total() / 400 == pytest.approx(rate, abs=0.06)
    # Nothing yields between these requests, so shadows wait for their turn.
    assert set(run.counts) <= {(0, "differed"), (0, "skipped")}


@pytest.mark.parametrize(
    "controls",
    [Controls(tier=0), Controls(max_tier=1), Controls(threshold=0.5)],
    ids=["pinned", "max-tier", "threshold"],
)
def test_what_did_not_come_the_cascades_own_way_is_left_alone(controls: Controls) -> None:
    assert ShadowRun(SMALL, SLOW, controls=controls).counts == {}


def test_an_answer_of_the_last_tier_or_of_several_samples_is_left_alone() -> None:
    assert ShadowRun(Reply(score=0.1), SLOW).counts == {}
    assert ShadowRun(SMALL, SLOW, request=make_request(samples=2)).counts == {}


def test_only_a_few_run_at_a_time() -> None:
    run = ShadowRun(SMALL, SLOW, requests=MOST_AT_A_TIME + 3)
    assert run.counts == {(0, "differed"): MOST_AT_A_TIME, (0, "skipped"): 3}


@pytest.mark.parametrize(
    "last",
    [Reply(lost=True), Reply(error=ValueError("no")), Reply(early_abort=True), Reply(seconds=1e6)],
    ids=["lost", "error", "aborted", "too-slow"],
)
def test_a_shadow_that_fails_says_nothing_of_agreement(last: Reply) -> None:
    run = ShadowRun(SMALL, last)
    assert run.items[0]["text"] == SMALL.text
    assert run.counts == {(0, "failed"): 1}
    assert run.watch.state().now.answers == 0


def test_without_a_worker_of_the_last_tier_none_is_tried() -> None:
    run = ShadowRun(SMALL, None)
    assert run.counts == {(0, "skipped"): 1}
    assert run.engine.visits == [0]


def test_the_servers_end_aborts_it() -> None:
    run = ShadowRun(SMALL, Reply(seconds=50.0), stop_after=1.0)
    assert run.engine.runs[1].end == "cancelled"
    assert run.counts == {}


def test_a_middle_tier_is_watched_apart() -> None:
    run = ShadowRun(Reply(score=0.2), SMALL, SLOW)
    assert run.counts == {(1, "differed"): 1}
    assert run.watch.state().now.answers == 0


@pytest.mark.parametrize("reason", ["committed", "truncated"])
def test_what_goes_out_for_the_judges_word_is_looked_at_whatever_its_reason(reason: str) -> None:
    cut = Reply(score=0.1, uncut_score=0.9, text="fifty six")
    small = cut if reason == "truncated" else Reply(score=0.9, steps=(ReplyStep(committed=True),))
    request = make_request(stream=reason == "committed", max_new_tokens=4)
    controls = Controls(stream="commit" if reason == "committed" else None)
    run = ShadowRun(small, Reply(seconds=1.0, text="fifty six"), request=request, controls=controls)
    assert run.items[-1]["meta_info"]["cascadia"]["attempts"][-1]["reason"] == reason
    assert run.counts.total() == 1


def test_while_no_worker_of_the_last_tier_is_idle_none_begins() -> None:
    assert ShadowRun(SMALL, SLOW, idle_after=1.0).counts == {(0, "skipped"): 1}
