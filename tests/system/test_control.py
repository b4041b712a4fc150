"""Control routes of the real server: they reach every worker, and none is waited for in vain."""

import os
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.system.conftest import KEY
from tests.system.serving import Server

pytestmark = pytest.mark.sglang


@pytest.fixture
def server(fleet: Server) -> Server:
    return fleet


def workers(server: Server) -> list[dict]:
    return [worker for worker in server.status()["workers"] if worker["state"] == "ready"]


def test_without_traffic_the_planner_has_nothing_to_plan_by(admin: httpx.Client) -> None:
    """First of this file, and of those that use this server."""
    reply = admin.post("/cascadia/plan", json={"dry_run": True})
    assert reply.status_code == 409
    assert "0 requests are too few to plan by" in reply.json()["error"]["message"]


def test_the_state_and_the_load_of_every_worker_are_shown_with_its_name(
    server: Server, admin: httpx.Client
) -> None:
    names = [worker["id"] for worker in workers(server)]
    assert len(names) == 3
    states = admin.get("/server_info").json()["internal_states"]
    assert [state["worker"] for state in states] == names
    loads = admin.get("/v1/loads").json()["loads"]
    assert [load["worker"] for load in loads] == names
    of_one_worker = admin.get("/v1/loads", params={"dp_rank": 2}).json()["loads"]
    assert [load["worker"] for load in of_one_worker] == names[2:]


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_no_key_is_told_to_who_asks_for_the_flags(server: Server, path: str) -> None:
    with server.client() as client:
        reply = client.get(path)
    info = reply.json()
    assert (info["api_key"], info["admin_api_key"]) == (None, "<redacted>")
    assert "--admin-api-key '<redacted>'" in info["launch_command"]
    assert {state["admin_api_key"] for state in info["internal_states"]} == {None}
    assert f'"{KEY}"' not in reply.text


def test_flushing_empties_the_caches_of_all_workers(admin: httpx.Client) -> None:
    body = {"text": "rev abcdefgh", "sampling_params": {"temperature": 0, "max_new_tokens": 12}}

    def cached(tier: str) -> int:
        response = admin.post("/generate", json=body, headers={"x-cascadia-tier": tier})
        return response.json()["meta_info"]["cached_tokens"]

    for tier in ("small", "large"):
        cached(tier)
        assert cached(tier) > 0
    assert admin.post("/flush_cache").status_code == 200
    assert [cached("small"), cached("large")] == [0, 0]


def test_a_pause_holds_every_tier_and_continuing_lets_them_go(admin: httpx.Client) -> None:
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    assert admin.post("/pause_generation", json={"mode": "in_place"}).status_code == 200
    for tier in ("small", "large"):
        headers = {"x-cascadia-tier": tier, "x-cascadia-deadline-ms": "300"}
        assert admin.post("/generate", json=body, headers=headers).status_code == 504
    assert admin.post("/continue_generation", json={}).status_code == 200
    for tier in ("small", "large"):
        headers = {"x-cascadia-tier": tier}
        assert admin.post("/generate", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/freeze_gc", "/health", "/health_generate", "/ready"])
def test_routes_without_an_answer_of_their_own(path: str, admin: httpx.Client) -> None:
    assert admin.get(path).status_code == 200


def test_weights_are_updated_in_the_tier_that_is_named(admin: httpx.Client) -> None:
    body = {"model_path": "demo/models/small"}
    refused = admin.post("/update_weights_from_disk", json=body)
    assert refused.status_code == 400
    assert "small, large" in refused.json()["error"]["message"]
    wrong = admin.post("/update_weights_from_disk", json={**body, "tier": "huge"})
    assert wrong.status_code == 400
    done = admin.post("/update_weights_from_disk", json={**body, "tier": "small"})
    assert done.status_code == 200, done.text
    assert done.json()["num_paused_requests"] == [0, 0]
    weights = {"name": "model.norm.weight", "truncate_size": 4}
    assert "small, large" in admin.post("/get_weights_by_name", json=weights).text
    shown = admin.post("/get_weights_by_name", json={**weights, "tier": "small"})
    # The worker's own answer: SGLang shows no weights of this architecture.
    assert "Get parameter by name failed" in shown.text
    assert admin.get("/model_info").json()["model_path"].endswith("small")
    ids = [card["id"] for card in admin.get("/v1/models").json()["data"]]
    assert ids == ["cascadia", "small", "large"]
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    assert admin.post("/generate", json=body).json()["text"] == "cba"


@pytest.mark.parametrize("path", ["/load_lora_adapter", "/unload_lora_adapter"])
def test_adapters_need_a_tier(path: str, admin: httpx.Client) -> None:
    body = {"lora_name": "x", "lora_path": "y"}
    assert admin.post(path, json=body).status_code == 400
    reply = admin.post(path, json={**body, "tier": "small"})
    assert "LoRA is not enabled" in reply.text


def test_the_profiler_starts_and_stops_in_every_worker(admin: httpx.Client, tmp_path: Path) -> None:
    body = {"output_dir": str(tmp_path), "activities": ["CPU"]}
    assert admin.post("/start_profile", json=body).status_code == 200
    ask = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 4}}
    for tier in ("small", "large"):
        admin.post("/generate", json=ask, headers={"x-cascadia-tier": tier})
    assert admin.post("/stop_profile").status_code == 200


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("/release_memory_occupation", "--enable-memory-saver"),
        ("/resume_memory_occupation", "--enable-memory-saver"),
        ("/start_expert_distribution_record", "--expert-distribution-recorder-mode"),
        ("/stop_expert_distribution_record", "--expert-distribution-recorder-mode"),
        ("/dump_expert_distribution_record", "--expert-distribution-recorder-mode"),
    ],
)
def test_a_call_without_its_flag_ends_no_worker(
    path: str, flag: str, server: Server, admin: httpx.Client
) -> None:
    """SGLang's scheduler would not survive it."""
    before = {worker["id"]: worker["pids"] for worker in workers(server)}
    refused = admin.post(path, json={})
    assert refused.status_code == 400
    assert flag in refused.text
    assert {worker["id"]: worker["pids"] for worker in workers(server)} == before
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    assert admin.post("/generate", json=body).status_code == 200


def test_a_session_stays_with_the_worker_that_holds_it(admin: httpx.Client) -> None:
    opened = admin.post("/open_session", json={"capacity_of_str_len": 1000, "tier": "large"})
    session = opened.json()
    params = {"temperature": 0, "max_new_tokens": 6}
    first = admin.post(
        "/generate",
        json={"text": "rev abc", "sampling_params": params, "session_params": {"id": session}},
    ).json()
    assert first["meta_info"]["cascadia"]["tier"] == "large"
    second = admin.post(
        "/generate",
        json={
            "text": "rev abc",
            "sampling_params": params,
            "session_params": {"id": session, "rid": first["meta_info"]["id"]},
        },
    )
    assert second.status_code == 200, second.text
    assert second.json()["meta_info"]["prompt_tokens"] > first["meta_info"]["prompt_tokens"]
    assert admin.post("/close_session", json={"session_id": session}).status_code == 200
    gone = admin.post(
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
    ("path", "body", "message"),
    [
        ("/cascadia/thresholds", {"thresholds": [0.5, 0.5]}, "needed: 1"),
        ("/cascadia/thresholds", {"thresholds": [1.5]}, "0 to 1"),
        ("/cascadia/thresholds", {"threshold": [0.5]}, "threshold"),
        ("/cascadia/workers", {"tier": "huge", "replicas": 1}, "small, large"),
        ("/cascadia/workers", {"tier": "small", "replicas": 0}, "1 to 64"),
    ],
)
def test_what_cannot_be_set_is_a_400_that_says_what_is_allowed(
    admin: httpx.Client, path: str, body: dict, message: str
) -> None:
    response = admin.post(path, json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_thresholds_hold_from_the_next_request_on(server: Server, admin: httpx.Client) -> None:
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    for threshold, tier in ((0.0, "small"), (1.0, "large"), (0.9, "small")):
        reply = admin.post("/cascadia/thresholds", json={"thresholds": [threshold]})
        assert reply.json() == {"thresholds": [threshold]}
        assert server.status()["thresholds"] == [threshold]
        answer = admin.post("/generate", json=body).json()
        assert answer["meta_info"]["cascadia"]["tier"] == tier


def scrape(admin: httpx.Client) -> list[str]:
    return admin.get("/metrics/").text.splitlines()


def test_a_dead_workers_gauges_disappear_and_its_neighbours_stay(
    server: Server, admin: httpx.Client
) -> None:
    """And what it counted stays counted."""
    body = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    for _ in range(4):
        admin.post("/generate", json=body, headers={"x-cascadia-threshold": "0"})
    small = [worker for worker in workers(server) if worker["tiers"] == ["small"]]
    dead, living = small[0], small[1]

    def gauges(worker: dict) -> list[str]:
        name = f'worker="{worker["id"]}"'
        return [x for x in scrape(admin) if x.startswith("sglang:num_running_reqs{") and name in x]

    def starts() -> float:
        name = 'cascadia_worker_starts_total{outcome="ready",tier="small"} '
        return next(float(x.split()[-1]) for x in scrape(admin) if x.startswith(name))

    assert gauges(dead)
    assert gauges(living)
    assert 'tier="small"' in gauges(dead)[0]
    started = starts()
    os.kill(dead["pids"][0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while gauges(dead):
        assert time.monotonic() < deadline
    assert gauges(living)
    while len(workers(server)) < 3:
        assert time.monotonic() < deadline
    lines = scrape(admin)
    assert 'cascadia_workers{state="ready",tier="small"} 2.0' in lines
    assert starts() == started + 1
    accepted = next(x for x in lines if 'requests_total{reason="accepted",tier="small"}' in x)
    assert float(accepted.split()[-1]) >= 4
    attempts = [x for x in lines if x.startswith("sglang:num_requests_total{")]
    assert any('tier="small"' in x and f'worker="{living["id"]}"' in x for x in attempts)


def test_a_tier_gets_the_number_of_workers_that_is_asked_for(
    server: Server, admin: httpx.Client
) -> None:
    for replicas in (1, 2):
        reply = admin.post("/cascadia/workers", json={"tier": "small", "replicas": replicas})
        assert reply.status_code == 200, reply.text
        assert reply.json()["replicas"] == replicas
        assert len([w for w in workers(server) if w["tiers"] == ["small"]]) == replicas


def test_calls_return_within_ten_seconds_with_one_worker_stopped(
    server: Server, admin: httpx.Client
) -> None:
    """And the reply that it would give when it goes on is not credited to the next call."""
    stopped = workers(server)[0]
    process = psutil.Process(stopped["pids"][0])
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    states = admin.get("/server_info").json()["internal_states"]
    flushed = admin.post("/flush_cache")
    took = time.monotonic() - started
    if process.is_running():
        os.kill(process.pid, signal.SIGCONT)
    assert took <= 10.0
    assert flushed.status_code == 200
    assert stopped["id"] not in [state["worker"] for state in states]
    again = admin.get("/server_info").json()["internal_states"]
    assert [state["worker"] for state in again] == [worker["id"] for worker in workers(server)]
    assert stopped["id"] not in [worker["id"] for worker in workers(server)]
    deadline = time.monotonic() + 30
    while len(workers(server)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(admin.get("/server_info").json()["internal_states"]) == 3
