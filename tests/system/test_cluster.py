"""A server whose small tier runs on another machine: answers, and what happens when it is lost."""

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.system.ray_machines import Machine, RayMachines, two_machines
from tests.system.serving import CASCADE, ROOT, Server, gone, start

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]

PROMPTS = ("rev abc", "rev hello", "add 17 25", "sort 3 1 2")
SHORT = {"temperature": 0, "max_new_tokens": 24}
LONG = {"temperature": 0, "max_new_tokens": 200, "ignore_eos": True}


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> float:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + seconds
        time.sleep(0.1)
    return time.monotonic() - started


def cascade_file(folder: Path, machines: RayMachines | None, **changes: Any) -> str:
    """The cascade of these tests, its small tier on another machine where there is one."""
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["routing"] |= {"drafts": "on"}
    if machines is not None:
        cluster = {"ray": machines.address, "nodes": 1, "gpus_per_node": 1}
        cascade["cluster"] = {**cluster, "private_network": True, **changes}
    path = folder / "cascade.json"
    path.write_text(json.dumps(cascade))
    return str(path)


def answers(server: Server) -> list[Any]:
    """Texts, tiers and scores on several routes."""
    found: list[Any] = []
    with server.client() as client:
        for prompt in PROMPTS:
            body = {"text": prompt, "sampling_params": SHORT}
            answer = client.post("/generate", json=body).json()
            attempts = answer["meta_info"]["cascadia"]["attempts"]
            found.append((answer["text"], [(a["tier"], a["score"]) for a in attempts]))
            chat = {"model": "cascadia", "messages": [{"role": "user", "content": prompt}]}
            chat |= {"temperature": 0, "max_tokens": 24}
            message = client.post("/v1/chat/completions", json=chat).json()
            found.append(message["choices"][0]["message"]["content"])
            found.append(streamed(client, prompt, SHORT))
    return found


def streamed(client: httpx.Client, prompt: str, params: dict[str, Any]) -> str:
    """The text of a streamed answer; AssertionError where it breaks off with an error."""
    body = {"text": prompt, "sampling_params": params, "stream": True}
    text = ""
    headers = {"x-cascadia-stream": "buffered"}
    with client.stream("POST", "/generate", json=body, headers=headers) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: {"):
                part = json.loads(line.removeprefix("data: "))
                assert "error" not in part, part
                text = part["text"]
    return text


class Requests:
    """Eight requests on their way at a time, half of them streamed, until they are to stop.

    A stream of which the client has seen a part could not be run again, so these are buffered.
    """

    def __init__(self, server: Server) -> None:
        self.answered = 0
        self.problems: list[str] = []
        self.reasons: set[tuple[str, ...]] = set()
        self._server = server
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(8)
        ]
        for thread in self._threads:
            thread.start()

    def land(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        assert self.problems == []

    def _run(self, number: int) -> None:
        with self._server.client(timeout=60) as client:
            while not self._ending.is_set():
                try:
                    self._ask(client, number)
                except (AssertionError, httpx.HTTPError) as error:
                    self.problems.append(repr(error))
                self.answered += 1

    def _ask(self, client: httpx.Client, number: int) -> None:
        if number % 2:
            assert streamed(client, "rev abc", LONG)
            return
        body = {"text": "rev abc", "sampling_params": LONG}
        answer = client.post("/generate", json=body)
        assert answer.status_code == 200, answer.text
        attempts = answer.json()["meta_info"]["cascadia"]["attempts"]
        self.reasons.add(tuple(attempt["reason"] for attempt in attempts))


def places(server: Server) -> dict[str, str]:
    """The node of each tier's worker that serves."""
    workers = server.status()["workers"]
    return {w["tiers"][0]: w["node"] for w in workers if w["state"] == "ready"}


def nodes(server: Server) -> list[tuple[str, bool]]:
    return [(node["state"], node["local"]) for node in server.status()["nodes"]]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayMachines]:
    with two_machines(tmp_path_factory.mktemp("ray")) as machines:
        yield machines


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the same cascade answers on one host."""
    folder = tmp_path_factory.mktemp("alone")
    server = start(folder, *CASCADE[:-1], cascade_file(folder, None))
    try:
        server.wait_until_ready()
        return answers(server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, machines: RayMachines, alone: list[Any]
) -> Iterator[Server]:
    del alone  # One server at a time.
    folder = tmp_path_factory.mktemp("cluster")
    server = start(
        folder,
        *CASCADE[:-1],
        cascade_file(folder, machines),
        environment=machines.environment,
    )
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def remote(machines: RayMachines) -> Machine:
    """The machine on which the agent is."""
    return next(m for m in machines.machines if m.process.poll() is None and m.agents())


def whole(server: Server) -> bool:
    return places(server).keys() == {"small", "large"} and ("away", False) not in nodes(server)


def test_answers_and_scores_are_those_of_one_host(
    server: Server, alone: list[Any], machines: RayMachines
) -> None:
    assert places(server)["small"] != places(server)["large"]
    assert nodes(server) == [("up", True), ("up", False)]
    assert len(remote(machines).workers()) == 1
    assert answers(server) == alone


def test_nothing_listens_on_every_address_for_a_worker_elsewhere(server: Server) -> None:
    listening = [
        connection.laddr
        for process in server.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    everywhere = {"0.0.0.0", "::"}
    sockets = [a for a in listening if 22000 <= a.port <= 29999 and a.ip not in everywhere]
    # The tokenizer manager's, a detokenizer's, and two of the worker's.
    assert len(sockets) >= 4
    assert {address.ip for address in sockets} == {"127.0.0.1"}


def test_no_request_fails_when_a_worker_elsewhere_ends(
    server: Server, machines: RayMachines
) -> None:
    wait_until(lambda: whole(server))
    workers = remote(machines).workers()
    before = {worker["id"] for worker in server.status()["workers"]}
    requests = Requests(server)
    wait_until(lambda: requests.answered >= 8)
    for worker in workers:
        worker.kill()
    wait_until(lambda: {w["id"] for w in server.status()["workers"]} != before, 3.0)
    wait_until(lambda: whole(server), 90)
    requests.land()
    assert gone(workers, 5.0) == []


def test_no_request_fails_when_an_agent_ends(server: Server, machines: RayMachines) -> None:
    wait_until(lambda: whole(server))
    machine = remote(machines)
    agents, workers = machine.agents(), machine.workers()
    requests = Requests(server)
    wait_until(lambda: requests.answered >= 8)
    for agent in agents:
        agent.kill()
    wait_until(lambda: ("away", False) in nodes(server), 3.0)
    # Its worker starts again on the server's host, where there is room.
    wait_until(lambda: places(server).keys() == {"small", "large"}, 60)
    count = requests.answered
    wait_until(lambda: requests.answered >= count + 8)
    wait_until(lambda: ("away", False) not in nodes(server), 90)
    requests.land()
    assert gone(workers, 5.0) == []
