"""Tiers that name one device, on a host, where devices are numbers: they move as one.

They have no calibration: a share of the requests climbs, before and after a move.
"""

import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from demo.tasks.splits import sample
from tests.system.serving import ROOT, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

KEY = "shared-devices"
RATE = 0.3
PROMPTS = [row.prompt for row in sample("test", 5, 120)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shared")
    text = (ROOT / "tests" / "system" / "cascade.yaml").read_text()
    for name in ("small", "large"):
        text = text.replace(f"- name: {name}", f"- name: {name}\n    devices: [5]")
    text = text.replace("    calibration: demo/models/small/calibration.json\n", "")
    text = text.replace("  thresholds: [0.9]", f"  escalation_rate: {RATE}")
    file: Path = folder / "cascade.yaml"
    file.write_text(text)
    arguments = ("--plugin", "cascadia", "--cascade-config", str(file), "--admin-api-key", KEY)
    started = start(folder, *arguments, "--enable-metrics")
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


def plan(client: httpx.Client, **replicas: int) -> httpx.Response:
    capacities = {name: {"replicas": count} for name, count in replicas.items()}
    headers = {"Authorization": f"Bearer {KEY}"}
    return client.post("/cascadia/plan", json={"tiers": capacities}, headers=headers)


def lies(client: httpx.Client) -> dict[str, list[int]]:
    plan_now = client.get("/cascadia/plan", headers={"Authorization": f"Bearer {KEY}"}).json()
    devices: dict[str, list[int]] = {}
    for replica in plan_now["replicas"]:
        devices.setdefault(replica["pool"], []).append(replica["base_gpu_id"])
    return devices


def test_a_block_moves_whole_and_is_not_split(server: Server) -> None:
    with server.client(240) as client:
        assert lies(client) == {"small": [5], "large": [5]}
        refused = plan(client, small=2)
        assert refused.status_code == 409
        assert "share devices, so their replicas change together" in refused.text
        grown = plan(client, small=2, large=2)
        assert grown.status_code == 200, grown.text
        places = lies(client)
        assert sorted(places["small"]) == sorted(places["large"])
        assert len(set(places["small"])) == 2
        answer = client.post(
            "/v1/chat/completions",
            json={"model": "cascadia", "messages": [{"role": "user", "content": "add 12 34"}]},
        )
        assert answer.status_code == 200
        assert plan(client, small=1, large=1).status_code == 200
        assert {pool: len(devices) for pool, devices in lies(client).items()} == {
            "small": 1,
            "large": 1,
        }


def test_without_a_calibration_the_share_climbs_that_was_asked_for(server: Server) -> None:
    def ask(prompt: str) -> httpx.Response:
        body = {"text": prompt, "sampling_params": {"temperature": 0, "max_new_tokens": 64}}
        with server.client(240) as client:
            return client.post("/generate", json=body)

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(ask, PROMPTS))
    assert {reply.status_code for reply in replies} == {200}
    climbed = [reply.headers["x-cascadia-tier"] == "large" for reply in replies]
    # What is owed at the end is 2.5 answers, as a standard deviation.
    assert sum(climbed) / len(climbed) == pytest.approx(RATE, abs=0.09)
    for reply, has_climbed in zip(replies, climbed, strict=True):
        story = reply.json()["meta_info"]["cascadia"]
        first = story["attempts"][0]
        assert first["calibrated"] is False
        assert 0.0 < first["score"] < 1.0
        assert first["reason"] == ("below_threshold" if has_climbed else "accepted")
        assert story["calibrated"] is (None if has_climbed else False)
        assert reply.headers.get("x-cascadia-calibrated") == (None if has_climbed else "false")
    # The surest tasks stay, the least sure climb.
    ranks = [reply.json()["meta_info"]["cascadia"]["attempts"][0]["score"] for reply in replies]
    stayed = [rank for rank, has_climbed in zip(ranks, climbed, strict=True) if not has_climbed]
    gone = [rank for rank, has_climbed in zip(ranks, climbed, strict=True) if has_climbed]
    assert statistics.median(gone) < statistics.median(stayed)


def test_the_status_and_the_metrics_show_the_rate(server: Server) -> None:
    small, large = server.status()["tiers"]
    assert (small["judge"], small["calibrated"], small["escalation_rate"]) == ("on", False, RATE)
    assert small["recent_escalation_rate"] == pytest.approx(RATE, abs=0.14)
    assert 0.0 < small["threshold"] < 1.0
    assert (large["judge"], large["escalation_rate"], large["threshold"]) == ("off", None, None)
    with server.client() as client:
        page = client.get("/metrics").text
    assert 'cascadia_calibrated{tier="small"} 0.0' in page
    assert f'cascadia_escalation_rate_asked{{tier="small"}} {RATE}' in page


def test_thresholds_are_refused_with_why(server: Server) -> None:
    with server.client() as client:
        body = {"text": "rev ab", "sampling_params": {"max_new_tokens": 4}}
        raised = client.post("/generate", json=body, headers={"x-cascadia-threshold": "0.5"})
        headers = {"Authorization": f"Bearer {KEY}"}
        fixed = client.post("/cascadia/thresholds", json={"thresholds": [0.5]}, headers=headers)
        planned = client.post("/cascadia/plan", json={"thresholds": [0.5]}, headers=headers)
    assert raised.status_code == fixed.status_code == planned.status_code == 400
    assert "x-cascadia-threshold" in raised.text
    for refused in (fixed, planned):
        assert "small has no calibration" in refused.json()["error"]["message"]
