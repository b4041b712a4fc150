"""A started worker waits outside the real server's capacity, until it is needed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from bench.harness.admin import KEY
from tests.system.serving import CASCADE, ROOT, Server, gone, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow, pytest.mark.alone]

BODY = {"text": "rev abc", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("standby")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["tiers"][0]["standby"] = 1
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    server = start(folder, *CASCADE[:-1], str(path), "--admin-api-key", KEY, "--enable-metrics")
    try:
        server.wait_until_ready()
        yield server
    finally:
        processes = server.family()
        server.stop()
        assert gone(processes, within_s=1) == []


@pytest.fixture
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client


def small(server: Server, state: str) -> list[dict[str, Any]]:
    return [
        worker
        for worker in server.status()["workers"]
        if worker["state"] == state and worker["tiers"] == ["small"]
    ]


def until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting(server: Server) -> dict[str, Any]:
    """The one that waits, as soon as there is one."""
    until(lambda: len(small(server, "standby")) == 1)
    return small(server, "standby")[0]


def test_a_standby_is_no_capacity(server: Server, admin: httpx.Client) -> None:
    standby = waiting(server)
    assert admin.get("/cascadia/plan").json()["pools"]["small"]["replicas"] == 1
    for _ in range(8):
        assert admin.post("/generate", json=BODY).status_code == 200
    assert waiting(server)["id"] == standby["id"]
    assert standby["running"] == 0
    lines = admin.get("/metrics/").text.splitlines()
    assert 'cascadia_workers{state="standby",tier="small"} 1.0' in lines


def test_a_move_takes_it_and_another_follows(server: Server, admin: httpx.Client) -> None:
    standby = waiting(server)
    reply = admin.post("/cascadia/workers", json={"tier": "small", "replicas": 2})
    assert reply.status_code == 200, reply.text
    assert standby["id"] in [worker["id"] for worker in small(server, "ready")]
    (step,) = admin.get("/cascadia/plan").json()["last_move"]["steps"]
    # Starting one takes seconds: a process alone takes one.
    assert step["seconds"] < 0.5
    assert waiting(server)["id"] != standby["id"]
    back = admin.post("/cascadia/workers", json={"tier": "small", "replicas": 1})
    assert back.status_code == 200
    assert len(small(server, "ready")) == 1


def test_it_takes_the_place_of_a_lost_worker(server: Server, admin: httpx.Client) -> None:
    standby = waiting(server)
    (lost,) = small(server, "ready")
    for pid in lost["pids"]:
        os.kill(pid, signal.SIGKILL)
    until(
        lambda: [worker["id"] for worker in small(server, "ready")] == [standby["id"]], within_s=2.0
    )
    assert admin.post("/generate", json=BODY).status_code == 200
    assert waiting(server)["id"] not in (standby["id"], lost["id"])


def test_one_that_ends_is_followed_by_another(server: Server, admin: httpx.Client) -> None:
    standby = waiting(server)
    for pid in standby["pids"]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: small(server, "standby") != [standby])
    assert waiting(server)["id"] != standby["id"]
    assert len(small(server, "ready")) == 1
    assert admin.post("/generate", json=BODY).status_code == 200
