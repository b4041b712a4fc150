"""Control routes of the real server: they reach every worker, and none is waited for in vain."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.system.conftest import ADMIN
from tests.system.serving import Server

pytestmark = pytest.mark.sglang


@pytest.fixture
def server(fleet: Server) -> Server:
    return fleet


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client(timeout=30) as client:
        client.headers.update(ADMIN)
        yield client


def workers(server: Server) -> list[dict]:
    return [worker for worker in server.status()["workers"] if worker["state"] == "ready"]


def test_without_traffic_the_planner_has_nothing_to_plan_by(client: httpx.Client) -> None:
    """First of this file, and of those that use this server."""
    told = client.post("/cascadia/plan", json={"dry_run": True})
    assert told.status_code == 409
    assert "0 requests are too few to plan by" in told.json()["error"]["message"]


def test_the_state_and_the_load_of_every_worker_are_shown_with_its_name(
    server: Server, client: httpx.Client
) -> None:
    names = [worker["id"] for worker in workers(server)]
    assert len(names) == 3
    states = client.get("/server_info").json()["internal_states"]
    assert [state["worker"] for state in states] == names
    loads = client.get("/v1/loads").json()["loads"]
    assert [load["worker"] for load in loads] == names
    one = client.get("/v1/loads", params={"dp_rank": 2}).json()["loads"]
    assert [load["worker"] for load in one] == names[2:]


def test_flushing_empties_the_caches_of_all_workers(client: httpx.Client) -> None:
    body = {"text": "rev abcdefgh", "sampling_params": {"temperature": 0, "max_new_tokens": 12}}

    def cached(tier: str) -> int:
        response = client.post("/generate", json=body, headers={"x-cascadia-tier": tier})
        return response.json()["meta_info"]["cached_tokens"]

    for tier in ("small", "large"):
        cached(tier)
        assert cached(tier) > 0
    assert client.post("/flush_cache").status_code == 200
    assert [cached("small"), cached("large")] == [0, 0]


def test_a_pause_holds_every_tier_and_continuing_lets_them_go(client: httpx.Client) -> None:
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    assert client.post("/pause_generation", json={"mode": "in_place"}).status_code == 200
    for tier in ("small", "large"):
        headers = {"x-cascadia-tier": tier, "x-cascadia-deadline-ms": "300"}
        assert client.post("/generate", json=body, headers=headers).status_code == 504
    assert client.post("/continue_generation", json={}).status_code == 200
    for tier in ("small", "large"):
        headers = {"x-cascadia-tier": tier}
        assert client.post("/generate", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/freeze_gc", "/health", "/health_generate", "/ready"])
def test_routes_without_an_answer_of_their_own(path: str, client: httpx.Client) -> None:
    assert client.get(path).status_code == 200


def test_weights_are_updated_in_the_tier_that_is_named(client: httpx.Client) -> None:
    body = {"model_path": "bench/ladder/small"}
    refused = client.post("/update_weights_from_disk", json=body)
    assert refused.status_code == 400
    assert "small, large" in refused.json()["error"]["message"]
    wrong = client.post("/update_weights_from_disk", json={**body, "tier": "huge"})
    assert wrong.status_code == 400
    done = client.post("/update_weights_from_disk", json={**body, "tier": "small"})
    assert done.status_code == 200, done.text
    assert done.json()["num_paused_requests"] == [0, 0]
    weights = {"name": "model.norm.weight", "truncate_size": 4}
    assert "small, large" in client.post("/get_weights_by_name", json=weights).text
    shown = client.post("/get_weights_by_name", json={**weights, "tier": "small"})
    # The worker's own answer: SGLang shows no weights of this architecture.
    assert "Get parameter by name failed" in shown.text
    assert client.get("/model_info").json()["model_path"].endswith("small")
    ids = [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert ids == ["cascadia", "small", "large"]
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    assert client.post("/generate", json=body).json()["text"] == "cba"


@pytest.mark.parametrize("path", ["/load_lora_adapter", "/unload_lora_adapter"])
def test_adapters_need_a_tier(path: str, client: httpx.Client) -> None:
    body = {"lora_name": "x", "lora_path": "y"}
    assert client.post(path, json=body).status_code == 400
    told = client.post(path, json={**body, "tier": "small"})
    assert "LoRA is not enabled" in told.text


def test_the_profiler_starts_and_stops_in_every_worker(
    client: httpx.Client, tmp_path: Path
) -> None:
    body = {"output_dir": str(tmp_path), "activities": ["CPU"]}
    assert client.post("/start_profile", json=body).status_code == 200
    ask = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 4}}
    for tier in ("small", "large"):
        client.post("/generate", json=ask, headers={"x-cascadia-tier": tier})
    assert client.post("/stop_profile").status_code == 200


def test_a_session_stays_with_the_worker_that_holds_it(client: httpx.Client) -> None:
    opened = client.post("/open_session", json={"capacity_of_str_len": 1000, "tier": "large"})
    session = opened.json()
    params = {"temperature": 0, "max_new_tokens": 6}
    first = client.post(
        "/generate",
        json={"text": "rev abc", "sampling_params": params, "session_params": {"id": session}},
    ).json()
    assert first["meta_info"]["cascadia"]["tier"] == "large"
    second = client.post(
        "/generate",
        json={
            "text": "rev abc",
            "sampling_params": params,
            "session_params": {"id": session, "rid": first["meta_info"]["id"]},
        },
    )
    assert second.status_code == 200, second.text
    assert second.json()["meta_info"]["prompt_tokens"] > first["meta_info"]["prompt_tokens"]
    assert client.post("/close_session", json={"session_id": session}).status_code == 200
    gone = client.post(
        "/generate",
        json={"text": "rev abc", "sampling_params": params, "session_params": {"id": session}},
    )
    assert gone.status_code == 400


@pytest.mark.parametrize("path", ["/cascadia/thresholds", "/cascadia/workers"])
@pytest.mark.parametrize("key", [None, "Bearer wrong", "secret"])
def test_writing_needs_the_admin_key(server: Server, path: str, key: str | None) -> None:
    with server.client() as client:
        headers = {} if key is None else {"authorization": key}
        response = client.post(path, json={"thresholds": [0.5]}, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/cascadia/thresholds", {"thresholds": [0.5, 0.5]}, "needed: 1"),
        ("/cascadia/thresholds", {"thresholds": [1.5]}, "0 to 1"),
        ("/cascadia/thresholds", {"threshold": [0.5]}, "threshold"),
        ("/cascadia/workers", {"tier": "huge", "replicas": 1}, "small, large"),
        ("/cascadia/workers", {"tier": "small", "replicas": 0}, "1 to 64"),
    ],
)
def test_what_cannot_be_set_is_a_400_that_says_what_is_allowed(
    client: httpx.Client, path: str, body: dict, said: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


def test_thresholds_hold_from_the_next_request_on(server: Server, client: httpx.Client) -> None:
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    for threshold, tier in ((0.0, "small"), (1.0, "large"), (0.9, "small")):
        told = client.post("/cascadia/thresholds", json={"thresholds": [threshold]})
        assert told.json() == {"thresholds": [threshold]}
        assert server.status()["thresholds"] == [threshold]
        answer = client.post("/generate", json=body).json()
        assert answer["meta_info"]["cascadia"]["tier"] == tier


def scrape(client: httpx.Client) -> list[str]:
    return client.get("/metrics/").text.splitlines()


def test_a_dead_workers_gauges_disappear_and_its_neighbours_stay(
    server: Server, client: httpx.Client
) -> None:
    """And what it counted stays counted."""
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    for _ in range(4):
        client.post("/generate", json=body, headers={"x-cascadia-threshold": "0"})
    small = [worker for worker in workers(server) if worker["tiers"] == ["small"]]
    dead, living = small[0], small[1]

    def gauges(worker: dict) -> list[str]:
        name = f'worker="{worker["id"]}"'
        return [x for x in scrape(client) if x.startswith("sglang:num_running_reqs{") and name in x]

    assert gauges(dead)
    assert gauges(living)
    assert 'tier="small"' in gauges(dead)[0]
    os.kill(dead["pids"][0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while gauges(dead):
        assert time.monotonic() < deadline
    assert gauges(living)
    while len(workers(server)) < 3:
        assert time.monotonic() < deadline
    lines = scrape(client)
    assert 'cascadia:workers{state="ready",tier="small"} 2.0' in lines
    assert 'cascadia:worker_starts_total{outcome="ready",tier="small"} 1.0' in lines
    accepted = next(x for x in lines if 'requests_total{reason="accepted",tier="small"}' in x)
    assert float(accepted.split()[-1]) >= 4
    attempts = [x for x in lines if x.startswith("sglang:num_requests_total{")]
    assert any('tier="small"' in x and f'worker="{living["id"]}"' in x for x in attempts)


def test_a_tier_gets_the_number_of_workers_that_is_asked_for(
    server: Server, client: httpx.Client
) -> None:
    for replicas in (1, 2):
        told = client.post("/cascadia/workers", json={"tier": "small", "replicas": replicas})
        assert told.status_code == 200, told.text
        assert told.json()["replicas"] == replicas
        assert len([w for w in workers(server) if w["tiers"] == ["small"]]) == replicas


def test_calls_return_within_ten_seconds_with_one_worker_stopped(
    server: Server, client: httpx.Client
) -> None:
    """And the reply that it would give when it goes on is not credited to the next call."""
    stopped = workers(server)[0]
    process = psutil.Process(stopped["pids"][0])
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    states = client.get("/server_info").json()["internal_states"]
    flushed = client.post("/flush_cache")
    took = time.monotonic() - started
    if process.is_running():
        os.kill(process.pid, signal.SIGCONT)
    assert took <= 10.0
    assert flushed.status_code == 200
    assert stopped["id"] not in [state["worker"] for state in states]
    again = client.get("/server_info").json()["internal_states"]
    assert [state["worker"] for state in again] == [worker["id"] for worker in workers(server)]
    assert stopped["id"] not in [worker["id"] for worker in workers(server)]
    deadline = time.monotonic() + 30
    while len(workers(server)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(client.get("/server_info").json()["internal_states"]) == 3
