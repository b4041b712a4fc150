"""What a scrape shows at the start, and after requests, starts and losses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from cascadia_sglang.metrics.families import FAMILIES
from cascadia_sglang.metrics.labels import ANSWER_REASONS, ESCALATION_REASONS, LAST_TIER_REASONS
from cascadia_sglang.router.accept_or_escalate import Finding, Verdict, decide

# What Prometheus 2, Prometheus 3 and a browser ask for.
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
UNDERSCORES = "application/openmetrics-text;version=1.0.0;escaping=underscores"
ALL_LETTERS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
PLAIN = "*/*"

# Pages of a server of three tiers, of which two share their workers, written as JSON.
SCRIPT = """
import asyncio, json, os, sys
from collections import Counter
from types import SimpleNamespace

import httpx

from cascadia_sglang.config.routing_settings import RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.http.metrics_page import Gauges, MetricsPage
from cascadia_sglang.messages import DraftReport
from cascadia_sglang.metrics.counters import Metrics, forget_gauges
from cascadia_sglang.router.attempt import Attempt
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.testing.engine import FakeEngine
from cascadia_sglang.testing.services import make_router

def cascade(*thresholds):
    tiers = [TierConfig(name=name, model_path=name) for name in ("small", "middle", "large")]
    return CascadeConfig(version=1, tiers=tiers, routing=RoutingConfig(thresholds=[*thresholds]))

metrics = Metrics(["small", "middle", "large"], ["small+middle", "large"], ["process", "weights"])
metrics.open()
workers = SimpleNamespace(census=lambda: Counter({("small+middle", "ready"): 2}))
router = make_router(cascade(0.8, 0.5), FakeEngine())
mover = SimpleNamespace(number=1)
gauges = Gauges(["small+middle", "large"], workers, router, mover)
page = MetricsPage(gauges, shows_old_names="old" in sys.argv)

async def scrape(accept):
    transport = httpx.ASGITransport(page)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return (await client.get("/metrics", headers={"accept": accept})).text

pages = {}
for accept in json.loads(sys.argv[1]):
    pages[accept] = asyncio.run(scrape(accept))

weak = Attempt(tier_index=0, score=0.4, tokens=7, seconds=0.1, escalated=True)
weak.reason = "below_threshold"
good = Attempt(tier_index=2, tokens=5, draft=DraftReport(kept=3), seconds=0.2, reason="last_tier")
metrics.answered([weak, good], good, 0.3, 0.25)
metrics.failed([weak], 504)
metrics.shadowed(0, "agreed")
metrics.worker_started("large", {"process": 0.5, "weights": 2.0})
metrics.worker_started("large", None)
router.set_thresholds([0.7, 0.5], 2)
mover.number = 3
workers.census = lambda: Counter({("small+middle", "ready"): 1, ("large", "starting"): 1})

from prometheus_client import Gauge
Gauge("sglang:queue", "One of SGLang's.", multiprocess_mode="mostrecent").set(4)

pages["later"] = asyncio.run(scrape("*/*"))
forget_gauges([os.getpid()])
pages["dead"] = asyncio.run(scrape("*/*"))
print(json.dumps(pages))
"""


def scraped(folder: Path, *options: str) -> dict[str, str]:
    """The pages by what was asked for; `later` and `dead` after requests and a worker's end."""
    accepts = json.dumps([OPEN_METRICS, UNDERSCORES, ALL_LETTERS, PLAIN])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, accepts, *options],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return scraped(tmp_path_factory.mktemp("metrics"))


@pytest.fixture(scope="module")
def pages_with_old_names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return scraped(tmp_path_factory.mktemp("metrics"), "old")


def parsed(accept: str, text: str) -> dict[str, Metric]:
    """The families that a reader of the format finds, by name."""
    read = plain_text if accept == PLAIN else open_metrics
    return {family.name: family for family in read(text)}


def series(families: Iterable[Metric]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Names and labels of all samples."""
    return [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    ]


@pytest.mark.parametrize("accept", [OPEN_METRICS, UNDERSCORES, ALL_LETTERS, PLAIN])
def test_every_metric_of_the_table_has_a_sample_from_the_start(
    pages: dict[str, str], accept: str
) -> None:
    metrics = parsed(accept, pages[accept])
    assert set(metrics) == {family_.name.removesuffix("_total") for family_ in FAMILIES}
    for family in FAMILIES:
        metric = metrics[family.name.removesuffix("_total")]
        assert metric.type == family.kind, family.name
        assert metric.documentation == family.meaning, family.name
        assert metric.samples, family.name
        ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        assert {sample.name for sample in metric.samples} == {family.name + end for end in ends}
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), sample


def test_every_known_label_value_has_a_sample_from_the_start(pages: dict[str, str]) -> None:
    lines = pages[PLAIN].splitlines()
    for line in (
        'cascadia_requests_total{reason="accepted",tier="middle"} 0.0',
        'cascadia_requests_total{reason="last_tier",tier="large"} 0.0',
        'cascadia_requests_total{reason="error_499",tier="none"} 0.0',
        'cascadia_escalations_total{from_tier="middle",reason="early_abort"} 0.0',
        'cascadia_tokens_total{kind="discarded",tier="large"} 0.0',
        'cascadia_prefix_warm_total{outcome="left",tier="middle"} 0.0',
        'cascadia_worker_starts_total{outcome="failed",tier="small+middle"} 0.0',
        'cascadia_worker_start_phase_seconds_total{phase="weights",tier="large"} 0.0',
        'cascadia_workers{state="ready",tier="small+middle"} 2.0',
        'cascadia_workers{state="draining",tier="large"} 0.0',
        'cascadia_threshold{tier="middle"} 0.5',
        "cascadia_plan_number 1.0",
        "cascadia_gear 0.0",
        "cascadia_reallocation_seconds_count 0.0",
    ):
        assert line in lines
    assert not [line for line in lines if "escalations" in line and 'from_tier="large"' in line]


def test_requests_attempts_and_starts_are_counted(pages: dict[str, str]) -> None:
    lines = pages["later"].splitlines()
    for line in (
        'cascadia_requests_total{reason="last_tier",tier="large"} 1.0',
        'cascadia_requests_total{reason="error_504",tier="none"} 1.0',
        'cascadia_escalations_total{from_tier="small",reason="below_threshold"} 2.0',
        'cascadia_shadow_total{outcome="agreed",tier="small"} 1.0',
        'cascadia_tokens_total{kind="answered",tier="large"} 5.0',
        'cascadia_tokens_total{kind="discarded",tier="small"} 14.0',
        'cascadia_verify_kept_tokens_total{tier="large"} 3.0',
        'cascadia_score_bucket{le="0.35",tier="small"} 0.0',
        'cascadia_score_bucket{le="0.4",tier="small"} 2.0',
        'cascadia_attempt_seconds_count{tier="large"} 1.0',
        'cascadia_request_seconds_sum{tier="large"} 0.3',
        'cascadia_ttft_seconds_sum{tier="large"} 0.25',
        'cascadia_worker_starts_total{outcome="failed",tier="large"} 1.0',
        'cascadia_worker_start_seconds_sum{tier="large"} 2.5',
        'cascadia_worker_start_phase_seconds_total{phase="weights",tier="large"} 2.0',
    ):
        assert line in lines


def test_gauges_show_what_is_in_force_now_and_nothing_of_before(pages: dict[str, str]) -> None:
    later = parsed(PLAIN, pages["later"])
    assert {s.labels["thresholds"] for s in later["cascadia_info"].samples} == {"0.7,0.5"}
    assert {s.labels["tiers"] for s in later["cascadia_info"].samples} == {"small,middle,large"}
    assert [s.value for s in later["cascadia_threshold"].samples] == [0.7, 0.5]
    assert [s.value for s in later["cascadia_plan_number"].samples] == [3.0]
    assert [s.value for s in later["cascadia_gear"].samples] == [2.0]
    workers = {
        (s.labels["tier"], s.labels["state"]): s.value for s in later["cascadia_workers"].samples
    }
    assert workers["small+middle", "ready"] == 1.0
    assert workers["large", "starting"] == 1.0
    assert sum(workers.values()) == 2.0


def test_gauges_of_a_dead_worker_go_and_what_it_counted_stays(pages: dict[str, str]) -> None:
    assert "sglang:queue 4.0" in pages["later"]
    assert "sglang:queue" not in pages["dead"]
    assert 'cascadia_requests_total{reason="last_tier",tier="large"} 1.0' in pages["dead"]


@pytest.mark.parametrize("accept", [ALL_LETTERS, PLAIN])
def test_old_names_stand_beside_the_new_ones_where_they_are_asked_for(
    pages: dict[str, str], pages_with_old_names: dict[str, str], accept: str
) -> None:
    new = series(parsed(accept, pages[accept]).values())
    both = series(parsed(accept, pages_with_old_names[accept]).values())
    old = [sample for sample in both if sample[0].startswith("cascadia:")]
    had = {family.name for family in FAMILIES if family.had_colon}
    renamed = [
        (name.replace("cascadia_", "cascadia:", 1), labels)
        for name, labels in new
        if any(name == old_name or name.startswith(old_name + "_") for old_name in had)
    ]
    assert sorted(old) == sorted(renamed)
    assert sorted(both) == sorted(new + old)


@pytest.mark.parametrize("accept", [OPEN_METRICS, UNDERSCORES])
def test_no_series_stands_twice_where_colons_become_underscores(
    pages_with_old_names: dict[str, str], accept: str
) -> None:
    samples = series(parsed(accept, pages_with_old_names[accept]).values())
    assert len(samples) == len(set(samples))
    assert "cascadia:" not in pages_with_old_names[accept]


def findings() -> Iterable[Finding]:
    flags = ("early_abort", "judged", "pinned", "last", "verified", "confirmed", "visible")
    for values in product((False, True), repeat=len(flags)):
        given: dict[str, Any] = dict(zip(flags, values, strict=True))
        for score, uncut_score, has_room in product((None, 0.1, 0.9), (None, 0.9), (False, True)):
            yield Finding(score=score, uncut_score=uncut_score, next_has_room=has_room, **given)


@pytest.mark.parametrize("on_error", ["accept", "escalate"])
def test_the_reasons_of_the_policy_are_known_from_the_start(on_error: Any) -> None:
    answers = {
        (finding.last, reason)
        for finding in findings()
        for verdict, reason in [decide(finding, 0.5, on_error)]
        if verdict is Verdict.ACCEPT
    }
    refusals = {
        reason
        for finding in findings()
        for verdict, reason in [decide(finding, 0.5, on_error)]
        if verdict is Verdict.ESCALATE
    }
    assert {reason for _, reason in answers} <= set(ANSWER_REASONS)
    assert {reason for is_last, reason in answers if is_last} <= set(LAST_TIER_REASONS)
    assert refusals <= set(ESCALATION_REASONS)
