"""The gauges of a cascade that keeps a rate, and of one whose thresholds are fixed."""

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec

from cascadia_sglang.http.metrics_page import Gauges
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.testing.engine import FakeEngine, make_cascade
from cascadia_sglang.testing.services import make_router
from tests.unit.judge.judging import make_calibration


def gauges(router: CascadeRouter) -> dict[str, dict[str, float]]:
    """By name and tier."""
    workers: Any = SimpleNamespace(census=Counter)
    metrics = Gauges([], workers, router, SimpleNamespace(number=1)).collect()  # type: ignore[arg-type]
    return {
        metric.name: {sample.labels.get("tier", ""): sample.value for sample in metric.samples}
        for metric in metrics
    }


def test_a_kept_rate_has_samples_from_the_start() -> None:
    router = make_router(make_cascade("a", "b", "c", escalation_rate=[0.5, 0.25]), FakeEngine())
    first = gauges(router)
    assert first["cascadia_escalation_rate_asked"] == {"a": 0.5, "b": 0.25}
    assert first["cascadia_calibrated"] == {"a": 0.0, "b": 0.0}
    assert set(first["cascadia_escalation_rate"]) == set(first["cascadia_threshold"]) == {"a", "b"}
    assert math.isnan(first["cascadia_escalation_rate"]["a"])
    router.services.scores.note(0, 0.4, climbed=True)
    router.services.scores.note(0, 0.6, climbed=False)
    later = gauges(router)
    assert later["cascadia_escalation_rate"]["a"] == 0.5
    assert 0.0 <= later["cascadia_threshold"]["a"] <= 1.0


def test_the_label_of_fixed_thresholds_does_not_follow_those_that_move() -> None:
    router = make_router(make_cascade("a", "b", escalation_rate=0.5), FakeEngine())
    workers: Any = SimpleNamespace(census=Counter)
    metrics = Gauges([], workers, router, SimpleNamespace(number=1)).collect()  # type: ignore[arg-type]
    (info,) = next(m for m in metrics if m.name == "cascadia_info").samples
    assert info.labels["thresholds"] == ""


def test_a_tier_shows_the_tokens_of_a_step_once_there_was_one() -> None:
    engine = FakeEngine()
    engine.tier_tokens_per_step[1] = 3.5
    steps = gauges(make_router(make_cascade("a", "b"), engine))["cascadia_tokens_per_step"]
    assert math.isnan(steps["a"])
    assert steps["b"] == 3.5


def test_fixed_thresholds_keep_no_rate() -> None:
    values = gauges(make_router(make_cascade("a", "b"), FakeEngine()))
    assert values["cascadia_threshold"] == {"a": 0.8}
    assert math.isnan(values["cascadia_escalation_rate_asked"]["a"])
    assert math.isnan(values["cascadia_escalation_rate"]["a"])


def test_a_tier_whose_scores_drift_has_an_alarm() -> None:
    uniform = [step / 100 for step in range(101)]
    changes = {"score_quantiles": uniform, "quantile_samples": 5_000}
    calibration = msgspec.structs.replace(make_calibration(0, 0.0), **changes)
    router = make_router(make_cascade("a", "b"), FakeEngine(), calibrations={0: calibration})

    def alarms() -> dict[tuple[str, str], float]:
        workers: Any = SimpleNamespace(census=Counter)
        families = Gauges([], workers, router, SimpleNamespace(number=1)).collect()  # type: ignore[arg-type]
        (family,) = [family for family in families if family.name == "cascadia_judge_alarm"]
        return {(s.labels["tier"], s.labels["kind"]): s.value for s in family.samples}

    assert alarms() == {("a", "drift"): 0.0, ("a", "agreement"): 0.0}
    watch = router.services.drift.watch(0)
    assert watch is not None
    for _ in range(300):
        watch.scores.add(0.99)
    assert alarms() == {("a", "drift"): 1.0, ("a", "agreement"): 0.0}
