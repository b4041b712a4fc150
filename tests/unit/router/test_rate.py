"""A cascade without a calibration: a share of its requests climbs, those of the lowest rank."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.messages import AttemptOrder, JudgeReport
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time
from tests.unit.judge.judging import make_calibration
from tests.unit.router.asking import ask

TWO = make_cascade("small", "large", escalation_rate=0.3)
THREE = make_cascade("small", "middle", "large", escalation_rate=0.3)


class RandomEngine(FakeEngine):
    """Scores at random, or as the next of what is scripted says; keeps the orders."""

    def __init__(self, tiers: int) -> None:
        super().__init__(*[Reply(score=0.5)] * tiers)
        self.random = Random(0)
        self.orders: list[AttemptOrder] = []
        self.scripted: list[JudgeReport] = []

    async def run(self, sample: Any, rid: str, order: AttemptOrder) -> tuple[Output, JudgeReport]:
        self.orders.append(order)
        output, _ = await super().run(sample, rid, order)
        report = JudgeReport(score=self.random.random(), early_abort=False)
        if order.tier_index == 0 and self.scripted:
            report = self.scripted.pop(0)
        return output, report


def serve(
    config: CascadeConfig,
    engine: RandomEngine,
    controls: Sequence[Controls] = (Controls(),) * 600,
) -> tuple[CascadeRouter, list[dict[str, Any]]]:
    """Answer a request after the other; what each answer says of itself."""
    router, stories = make_router(config, engine), []

    async def main() -> None:
        for number, request_controls in enumerate(controls):
            request = make_request(rid=f"r{number}")
            async for item in router.answer(request, None, request_controls, ResponseSummary()):
                stories.append(item["meta_info"]["cascadia"])

    run_in_virtual_time(main())
    return router, stories


@pytest.mark.parametrize("config", [TWO, THREE], ids=["two", "three"])
def test_the_share_of_all_requests_that_was_asked_for_reaches_the_last_tier(
    config: CascadeConfig,
) -> None:
    _, stories = serve(config, RandomEngine(len(config.tiers)))
    reached = [story["tier"] == "large" for story in stories]
    assert sum(reached) / len(reached) == pytest.approx(0.3, abs=0.04)


def test_an_answer_and_its_attempts_say_that_the_score_is_a_rank() -> None:
    answer = ask(FakeEngine(Reply(score=0.5), Reply(score=None)), TWO)
    assert answer.story["attempts"][0]["calibrated"] is False
    assert answer.story["calibrated"] is (None if answer.story["tier"] == "large" else False)
    assert answer.summary.calibrated is answer.story["calibrated"]


@pytest.mark.parametrize(
    "controls",
    [Controls(tier=0), Controls(max_tier=0), Controls(stream="direct", tier=1)],
    ids=["pinned", "last", "pinned-above"],
)
def test_other_requests_do_not_move_the_threshold(controls: Controls) -> None:
    engine = RandomEngine(2)
    router, _ = serve(TWO, engine, [controls] * 50)
    assert router.services.scores.recent_rate(0) is None


def test_requests_with_their_own_threshold_do_not_move_it() -> None:
    config = make_cascade("small", "middle", "large", escalation_rate=0.3)
    tiers = [msgspec.structs.replace(config.tiers[0], calibration="a.json"), *config.tiers[1:]]
    config = msgspec.structs.replace(config, tiers=tiers)
    router, stories = serve(config, RandomEngine(3), [Controls(threshold=0.5)] * 50)
    assert router.services.scores.recent_rate(0) is router.services.scores.recent_rate(1) is None
    assert {story["attempts"][0]["reason"] for story in stories} == {"accepted", "below_threshold"}


def test_answers_that_no_judge_could_rate_climb_and_do_not_move_it() -> None:
    engine = RandomEngine(2)
    engine.scripted = [JudgeReport(score=None, early_abort=False)] * 50
    router, stories = serve(TWO, engine, [Controls()] * 50)
    assert {story["attempts"][0]["reason"] for story in stories} == {"judge_error"}
    assert router.services.counts.judge_errors[0] == 50
    assert router.services.scores.recent_rate(0) is None


def test_attempts_that_were_ended_early_count_as_climbed() -> None:
    engine = RandomEngine(2)
    router = make_router(TWO, engine)
    router.services.scores.replace(0, "new.json", make_calibration(0, 0.0))
    engine.scripted = [JudgeReport(score=0.01, early_abort=True)] * 20

    async def main() -> None:
        for number in range(20):
            async for _ in router.answer(
                make_request(rid=f"{number}"), None, Controls(), ResponseSummary()
            ):
                pass

    run_in_virtual_time(main())
    assert router.services.scores.recent_rate(0) == 1.0


def test_an_attempt_names_the_calibration_that_took_over() -> None:
    engine = RandomEngine(2)
    router = make_router(TWO, engine)
    router.services.scores.replace(0, "new.json", make_calibration(0, 0.0))

    async def main() -> list[Any]:
        return [
            item
            async for item in router.answer(make_request(), None, Controls(), ResponseSummary())
        ]

    (item,) = asyncio.run(main())
    story = item["meta_info"]["cascadia"]
    assert engine.orders[0].calibration == "new.json"
    assert story["attempts"][0]["calibrated"] is True


def test_fixed_thresholds_take_over_where_every_tier_is_calibrated() -> None:
    router = make_router(TWO, RandomEngine(2))
    with pytest.raises(ConfigError):
        router.set_thresholds([0.7], 0)
    assert router.config is TWO
    router.services.scores.replace(0, "new.json", make_calibration(0, 0.0))
    with pytest.raises(ConfigError):
        router.set_thresholds([], 0)
    box = Gearbox(TWO, router, lambda: [[0], [0]])
    box.set_thresholds([0.7])
    assert box.thresholds == router.config.routing.thresholds == [0.7]
    assert router.services.scores.threshold(0) == 0.7


def test_a_refused_threshold_leaves_the_plans_as_they_were() -> None:
    box = Gearbox(TWO, make_router(TWO, RandomEngine(2)), lambda: [[0], [0]])
    with pytest.raises(ConfigError):
        box.set_thresholds([0.7])
    assert box.thresholds == []


def test_a_rank_is_no_earlier_score_of_a_calibrated_tier() -> None:
    engine = RandomEngine(3)
    serve(THREE, engine, [Controls()] * 20)
    earlier = {order.earlier_scores for order in engine.orders if order.tier_index == 1}
    assert earlier == {(None,)}


def test_a_requests_own_threshold_is_a_400_where_answers_are_ranked() -> None:
    answer = ask(RandomEngine(2), TWO, controls=Controls(threshold=0.7))
    assert answer.status == 400
    assert "x-cascadia-threshold" in str(answer.error)


def test_the_best_of_ranked_answers_is_the_largest_tiers() -> None:
    engine = FakeEngine(Reply(score=0.9), Reply(score=0.2), Reply(lost=True))
    config = make_cascade("a", "b", "c", escalation_rate=[1.0, 1.0], allow_degraded=True)
    answer = ask(engine, config)
    assert answer.story["tier"] == "b"
    assert answer.reasons[-1][1] != "accepted"
