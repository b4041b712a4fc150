"""A cascade without any calibration fits itself on its own traffic, while it serves."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.tasks.splits import sample
from tests.system.serving import Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.timeout(700)]

CASCADE = """
version: 1
tiers:
  - {{name: small, model_path: demo/models/small, server_args: {{max_total_tokens: 65536}}}}
  - {{name: middle, model_path: demo/models/middle, server_args: {{max_total_tokens: 65536}}}}
routing: {{escalation_rate: 0.3}}
judge: {{label_rate: 1.0}}
state: {state}
"""
# A deadline for slow machines: labels come only while the last tier is idle.
FITTED_S = 480.0
FAMILIES = ("add", "rev", "count", "sort", "mul")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("self-calibration")
    (folder / "cascade.yaml").write_text(CASCADE.format(state=folder / "state"))
    arguments = ("--plugin", "cascadia", "--cascade-config", str(folder / "cascade.yaml"))
    server = start(folder, *arguments, "--enable-metrics")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def ask(http: httpx.Client, prompt: str) -> dict:
    sampling = {"temperature": 0, "max_new_tokens": 32}
    answer = http.post("/generate", json={"text": prompt, "sampling_params": sampling})
    assert answer.status_code == 200
    story: dict = answer.json()["meta_info"]["cascadia"]
    return story


def test_its_own_traffic_calibrates_it_without_a_restart(
    server: Server, http: httpx.Client
) -> None:
    rows = [row for row in sample("calibration", 7, 20_000) if row.family in FAMILIES]
    prompts = iter([row.prompt for row in rows])
    first = ask(http, next(prompts))
    assert first["attempts"][0]["calibrated"] is False
    deadline = time.monotonic() + FITTED_S
    # One at a time: while the last tier is asked, prompts that arrive are not labelled.
    while (state := server.status()["tiers"][0]["self_calibration"])["state"] != "fitted":
        assert time.monotonic() < deadline, state
        for _ in range(40):
            ask(http, next(prompts))
    print(json.dumps(state))
    assert state["effective_labels"] >= state["needed"]
    assert state["failed"] == 0
    assert state["auroc"] > 0.6
    assert 0.0 <= state["ece"] < 0.3
    assert 0.0 < state["bound"]["disagree_at_most"] <= 1.0
    later = [ask(http, next(prompts)) for _ in range(5)]
    assert [story["attempts"][0]["calibrated"] for story in later] == [True] * 5
    assert all("record" not in attempt for story in later for attempt in story["attempts"])

    labels = labels_in(server.log.parent / "state")
    visits = [visit for label in labels for visit in label["visits"]]
    # The last tier reads every answer: what it gives itself it finds likely.
    assert all(visit["likelihood"] is not None for visit in visits)
    likely = {s: [v["likelihood"] for v in visits if v["same"] is s] for s in (True, False)}
    assert min(map(len, likely.values())) > 20
    means = {same: sum(values) / len(values) for same, values in likely.items()}
    assert means[True] > -0.1
    assert means[True] > means[False] + 0.3
    assert state["likely"] is not None

    page = metrics(server)
    assert 'cascadia_self_calibrations_total{outcome="fitted",tier="small"} 1.0' in page
    assert 'cascadia_calibrated{tier="small"} 1.0' in page
    shadows = server.status()["tiers"][0]["shadow"]
    assert shadows["expected"] is not None
    failed = 'cascadia_shadow_total{outcome="failed",tier="small"} 0.0'
    assert failed in page


def test_nothing_of_a_prompt_is_kept(server: Server) -> None:
    rows = sample("calibration", 7, 50)
    written = "".join(p.read_text() for p in (server.log.parent / "state").glob("*.json*"))
    assert not any(row.prompt in written for row in rows)


def labels_in(folder: Path) -> list[dict]:
    lines = (folder / "labels.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


def metrics(server: Server) -> str:
    with server.client() as client:
        return client.get("/metrics", follow_redirects=True).text
