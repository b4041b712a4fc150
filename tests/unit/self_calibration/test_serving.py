"""A cascade that begins ranked is calibrated by its own traffic, while it serves."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, JudgeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.self_calibration.controller import SelfCalibration
from cascadia_sglang.self_calibration.fit import FitResult, fit_labels
from cascadia_sglang.self_calibration.fit_process import FitRequest
from cascadia_sglang.self_calibration.label import first_rates, later_rates
from cascadia_sglang.self_calibration.state_folder import StateFolder
from cascadia_sglang.server.self_calibration_setup import configured_self_calibration
from cascadia_sglang.testing.engine import FakeEngine, Reply, make_cascade, make_request
from cascadia_sglang.testing.services import make_router
from cascadia_sglang.testing.time import run_in_virtual_time

RATE = 0.3
PROMPTS = 1_500
WEAKEST = FEATURES.index("weakest_logit")


def cascade(state: Path | None = None, label_rate: float = RATE) -> CascadeConfig:
    return msgspec.structs.replace(
        make_cascade("small", "large"),
        routing=RoutingConfig(escalation_rate=0.3),
        judge=JudgeConfig(label_rate=label_rate),
        state=None if state is None else str(state),
    )


def made_up_engine() -> FakeEngine:
    """What the first tier is sure of, the last one mostly says too."""
    random = Random(0)
    small, large = {}, {}
    for number in range(PROMPTS):
        sure = random.gauss(0.0, 2.0)
        features = [random.gauss(0.0, 1.0) for _ in FEATURES]
        features[WEAKEST] = sure
        agrees = random.random() < 1 / (1 + math.exp(-sure - 1))
        rank = 1 / (1 + math.exp(-0.5 * sure))
        small[f"p{number}"] = Reply(score=rank, text="yes", features=tuple(features))
        large[f"p{number}"] = Reply(text="yes" if agrees else "no")
    return FakeEngine(small, large)


async def likelihood(sample: Any, writer_tier: int, token_ids: Sequence[int]) -> float:
    del sample, writer_tier, token_ids
    return -0.3


async def fit_here(request: FitRequest) -> FitResult:
    folder = StateFolder(Path(request.folder), request.digest)
    labels = [label for _, label in folder.labels(request.first_label)]
    return fit_labels(labels, request.tiers, request.early_abort, request.error)


def self_calibration_of(config: CascadeConfig, router: CascadeRouter) -> SelfCalibration | None:
    metrics = Metrics([tier.name for tier in config.tiers])
    return configured_self_calibration(config, router.services, {}, likelihood, metrics)


class ServedCascade:
    """A router with its self-calibration, while prompts come one after the other."""

    def __init__(self, config: CascadeConfig) -> None:
        self.engine = made_up_engine()
        self.router = make_router(config, self.engine)
        calibration = self_calibration_of(config, self.router)
        assert isinstance(calibration, SelfCalibration)
        self.calibration = calibration
        self.calibration._fit = fit_here
        self.items: list[Any] = []

    async def ask(self, numbers: range) -> None:
        for number in numbers:
            request = make_request(f"p{number % PROMPTS}", rid=f"caller-{number}")
            given = self.router.answer(request, None, Controls(), ResponseSummary())
            self.items += [item async for item in given]
            await asyncio.sleep(1.0)


def test_traffic_calibrates_the_tier_and_no_request_notices_the_swap(tmp_path: Path) -> None:
    served = ServedCascade(cascade(tmp_path))
    router = served.router
    assert router.services.shadow.rates == first_rates(RATE)
    assert router.services.scores.is_ranked(0)

    async def main() -> None:
        await served.ask(range(2_000))
        # A request that began before the swap ends after it.
        slow = make_request("p1", rid="slow")
        served.engine._tiers[0]["p1"] = Reply(score=0.9, text="yes", seconds=30.0)
        given = router.answer(slow, None, Controls(), ResponseSummary())
        pending = asyncio.create_task(anext(given))
        await asyncio.sleep(1.0)
        await served.calibration.check()
        assert not router.services.scores.is_ranked(0)
        self_made = router.services.scores.source(0).calibration
        assert self_made == str(tmp_path / "tier-0-0001.json")
        await served.ask(range(2_000, 2_200))
        served.items.append(await pending)

    run_in_virtual_time(main())
    assert len(served.items) == 2_201
    calibrated = [
        item["meta_info"]["cascadia"]["attempts"][0]["calibrated"] for item in served.items
    ]
    assert calibrated == [False] * 2_000 + [True] * 200 + [False]
    orders = [run.order for run in served.engine.runs if run.order.tier_index == 0]
    assert {order.calibration for order in orders[:2_001]} == {None}
    assert {order.calibration for order in orders[2_001:]} == {str(tmp_path / "tier-0-0001.json")}
    # Every attempt is labelled before the swap, one in ten after it and the others end early.
    assert all(order.record for order in orders[:2_000])
    later = [order.record for order in orders[2_001:]]
    assert router.services.shadow.rates == later_rates(RATE)
    assert 0.15 < sum(later) / len(later) < 0.45
    assert {order.early_abort for order in orders[2_001:]} == {None, 0.05}
    summary = served.calibration.summary(0)
    assert summary["state"] == "fitted"
    assert summary["bound"]["disagree_at_most"] is not None
    # Both watches are of the new score.
    assert router.services.drift.watch(0).scores.drift().scores == 200
    state = router.services.shadow.watches[0].state()
    assert state.expected.answers == summary["bound"]["accepted"]
    assert state.now.answers < 100
    assert 0 < len(router.services.shadow.labelled[0]) < 100


def test_a_restart_begins_calibrated(tmp_path: Path) -> None:
    first = ServedCascade(cascade(tmp_path))

    async def main() -> None:
        await first.ask(range(2_000))
        await first.calibration.check()

    run_in_virtual_time(main())
    first.calibration.close()
    again = ServedCascade(cascade(tmp_path))
    assert again.router.services.scores.source(0).calibration == str(tmp_path / "tier-0-0001.json")
    assert again.calibration.summary(0)["bound"] == first.calibration.summary(0)["bound"]
    run_in_virtual_time(again.ask(range(3)))
    assert again.items[0]["meta_info"]["cascadia"]["calibrated"] is True


def test_without_a_folder_a_temporary_one_goes_with_the_server() -> None:
    served = ServedCascade(cascade())
    path = served.calibration._folder.path
    assert path.is_dir()
    run_in_virtual_time(served.ask(range(3)))
    assert (path / "labels.jsonl").exists()
    served.calibration.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "config",
    [
        make_cascade("small", "large"),
        msgspec.structs.replace(cascade(), calibration="off"),
        cascade(label_rate=0.0),
    ],
    ids=["thresholds", "off", "no-labels"],
)
def test_a_cascade_that_does_not_calibrate_itself_labels_nothing(config: CascadeConfig) -> None:
    router = make_router(config, made_up_engine())
    assert self_calibration_of(config, router) is None
    assert not router.services.shadow.is_labelling


def test_a_folder_of_another_cascade_ends_the_start(tmp_path: Path) -> None:
    ServedCascade(cascade(tmp_path)).calibration.close()
    other = cascade(tmp_path)
    tiers = [msgspec.structs.replace(other.tiers[0], model_path="/models/other"), other.tiers[1]]
    with pytest.raises(ConfigError, match="made for other models"):
        ServedCascade(msgspec.structs.replace(other, tiers=tiers))
