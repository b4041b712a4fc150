"""The metrics of a real server: documented, readable in both formats, and true of its requests."""

import re

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from cascadia_sglang import __version__
from tests.system.serving import ROOT, Server

pytestmark = pytest.mark.sglang

# What Prometheus 2 sends, what Prometheus 3 sends for names without other letters, and any reader.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)
UNDERSCORES = "application/openmetrics-text;version=1.0.0;escaping=underscores"
OURS = re.compile(r"(# (HELP|TYPE|UNIT) )?cascadia|# EOF")
ROW = re.compile(r"^\| `(cascadia_\w+)` \| (\w+) \| (.*?) \| .* \|$", re.MULTILINE)
BODY = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}


def families(admin: httpx.Client, accept: str | None = None) -> dict[str, Metric]:
    """The cascade's, by name, as a reader of the format that it gets finds them.

    SGLang's are left out: their colons become underscores in the samples of OpenMetrics alone, and
    the strict parser refuses a page where names differ so.
    """
    page = admin.get("/metrics", headers={"accept": accept} if accept else None)
    is_open = page.headers["content-type"].startswith("application/openmetrics-text")
    assert is_open == (accept is not None)
    read = open_metrics if is_open else plain_text
    ours = [line for line in page.text.splitlines(keepends=True) if OURS.match(line)]
    return {family.name: family for family in read("".join(ours))}


def documented() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric that the document lists, by name."""
    rows = ROW.findall((ROOT / "docs/reference/metrics.md").read_text())
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def value(admin: httpx.Client, name: str, **labels: str) -> float:
    """Of the one sample with this name and these labels."""
    (sample_value,) = [
        sample.value
        for family in families(admin).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return sample_value


@pytest.mark.parametrize("accept", [None, PROMETHEUS, UNDERSCORES])
def test_the_document_lists_what_every_reader_finds(
    admin: httpx.Client, accept: str | None
) -> None:
    by_name = families(admin, accept)
    table = documented()
    assert {name.removesuffix("_total") for name in table} == set(by_name)
    for name, (kind, labels) in table.items():
        family = by_name[name.removesuffix("_total")]
        assert family.type == kind
        assert family.samples, name
        assert family.documentation
        for sample in family.samples:
            assert sample.name.startswith(name)
            assert set(sample.labels) - {"le"} == labels


def test_workers_and_their_starts_are_shown(fleet: Server, admin: httpx.Client) -> None:
    ready = [worker["tiers"] for worker in fleet.status()["workers"] if worker["state"] == "ready"]
    for tier in ("small", "large"):
        count = ready.count([tier])
        assert value(admin, "cascadia_workers", tier=tier, state="ready") == count
        starts = value(admin, "cascadia_worker_starts_total", tier=tier, outcome="ready")
        assert starts >= count
        phase = {"tier": tier, "phase": "weights"}
        assert value(admin, "cascadia_worker_start_phase_seconds_total", **phase) > 0
    assert value(admin, "cascadia_plan_number") == fleet.status()["plan_number"]
    assert value(admin, "cascadia_gear") == 0


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/generate", {**BODY, "sampling_params": {"temperature": -1}}, {}, 400),
        ("/generate", {"text": "note " + "a" * 3000}, {}, 400),
        ("/generate", BODY, {"x-cascadia-threshold": "high"}, 400),
        ("/generate", {"text": 1}, {}, 400),
        ("/generate", BODY, {"x-cascadia-deadline-ms": "1"}, 504),
        ("/v1/completions", {"model": "other", "prompt": "rev abc"}, {}, 404),
        ("/v1/chat/completions", {"model": "cascadia", "messages": []}, {}, 400),
    ],
)
def test_an_error_counts_once_under_the_status_that_the_client_gets(
    admin: httpx.Client, path: str, body: dict, headers: dict, status: int
) -> None:
    def errors() -> dict[str, float]:
        samples = families(admin)["cascadia_requests"].samples
        return {s.labels["reason"]: s.value for s in samples if s.labels["tier"] == "none"}

    before = errors()
    assert admin.post(path, json=body, headers=headers).status_code == status
    after = errors()
    assert {reason: after[reason] - before[reason] for reason in after if after[reason]} == {
        reason: float(reason == f"error_{status}") for reason in after if after[reason]
    }


def test_info_and_thresholds_follow_a_change(fleet: Server, admin: httpx.Client) -> None:
    (before,) = fleet.status()["thresholds"]
    try:
        for threshold in (0.75, before):
            admin.post("/cascadia/thresholds", json={"thresholds": [threshold]})
            (info,) = families(admin)["cascadia_info"].samples
            assert info.value == 1
            assert info.labels == {
                "version": __version__,
                "tiers": "small,large",
                "thresholds": f"{threshold:g}",
            }
            assert value(admin, "cascadia_threshold", tier="small") == threshold
    finally:
        admin.post("/cascadia/thresholds", json={"thresholds": [before]})
