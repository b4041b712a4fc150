"""Starting and stopping the real server."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.system.serving import CASCADE, ROOT, Server, free_port, gone, start

pytestmark = pytest.mark.sglang

SHORT = {"temperature": 0, "max_new_tokens": 24}
MEDIUM = {"temperature": 0, "max_new_tokens": 100, "ignore_eos": True}
LONG = {"temperature": 0, "max_new_tokens": 1900, "ignore_eos": True}


class Flight:
    """Twenty requests on their way: half end while the server drains, half do not."""

    def __init__(self, server: Server) -> None:
        self.ends: list[str] = []
        # One for all: making twenty takes longer than the first answers.
        self._client = server.client(timeout=30)
        # Both tiers get short ones in turn with long ones, and every worker some of both.
        self._threads = [
            threading.Thread(target=self._ask, args=((MEDIUM, LONG)[i // 4 % 2], i))
            for i in range(20)
        ]
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 20
        # A request is active before it is tokenised and has a worker.
        while self._on_workers(server) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)

    @staticmethod
    def _on_workers(server: Server) -> int:
        return sum(worker["running"] for worker in server.status()["workers"])

    def _ask(self, params: dict, number: int) -> None:
        body = {"text": f"rev {'abcdefghij'[: 2 + number % 8]}", "sampling_params": params}
        try:
            tier = {"x-cascadia-tier": "small" if number % 4 < 2 else "large"}
            response = self._client.post("/generate", json=body, headers=tier)
            self.ends.append(str(response.status_code))
        except httpx.HTTPError as error:
            self.ends.append(type(error).__name__)

    def land(self) -> list[str]:
        for thread in self._threads:
            thread.join(20)
        self._client.close()
        return self.ends


def _stop_and_check(server: Server, send_stop) -> None:
    family = server.family()
    flight = Flight(server)
    started = time.monotonic()
    send_stop()
    remaining = gone(family, 12)
    took = time.monotonic() - started
    ends = flight.land()
    assert remaining == []
    assert took <= 10.5, f"took {took:.1f} s"
    assert len(ends) == 20
    assert set(ends) <= {"200", "503"}, ends
    assert ends.count("200") >= 5, ends


def _check_start_log(server: Server) -> None:
    """One block says what serves, its command works as printed, and no worker tells its story."""
    deadline = time.monotonic() + 10
    while "curl -s " not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.1)
    start = log[: log.index("curl -s ")]
    assert f"is ready on {server.url}\n  tier " in start
    for name in ("small", "middle", "large"):
        assert re.search(rf"^  {name} +demo/models/{name} +1 +CPU ", start, re.MULTILINE)
    assert f"  status   {server.url}/cascadia/status\n" in start
    for phrase in ("Applied 1 hook", "Load weight", "server_args=", "Uvicorn", "shards", "AMX"):
        assert phrase not in start
    command = next(line for line in log.splitlines() if line.startswith("curl -s "))
    answered = subprocess.run(command, shell=True, capture_output=True, timeout=30, check=True)
    assert json.loads(answered.stdout)["choices"][0]["message"]["content"]


def test_make_serve_starts_the_demo_and_passes_ctrl_c_on(tmp_path):
    """A terminal sends SIGINT to the whole foreground group, not to the main process alone."""
    server = make_serve(tmp_path, Path(sys.prefix))
    try:
        server.wait_until_ready()
        assert [tier["name"] for tier in server.status()["tiers"]] == ["small", "middle", "large"]
        _check_start_log(server)
        _stop_and_check(server, lambda: os.killpg(server.process.pid, signal.SIGINT))
    finally:
        server.stop()


STUB = """#!/bin/bash
trap 'echo draining; sleep 0.3; echo ended; exit 0' TERM
echo serving
while :; do sleep 0.05; done
"""


def test_make_serve_passes_sigterm_on_and_waits(tmp_path):
    """As a service manager ends it. In place of Python a script, which takes a moment to end."""
    key = subprocess.run(
        ["make", "--silent", "key"],
        cwd=ROOT,
        env=without_make(),
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(STUB)
    (tmp_path / "bin/python").chmod(0o755)
    (tmp_path / f".installed-{key.stdout.strip()}").touch()
    (tmp_path / ".checkout").write_text(f"{ROOT}\n")
    server = make_serve(tmp_path, tmp_path)
    deadline = time.monotonic() + 20
    while "serving" not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = server.family()
    server.process.send_signal(signal.SIGTERM)
    assert gone(family, 10) == []
    assert "draining\nended\n" in server.log.read_text()


def without_make() -> dict[str, str]:
    """This environment without the words of the `make` that runs the tests."""
    return {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}


def make_serve(folder: Path, venv: Path) -> Server:
    port = free_port()
    with (folder / "make.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "serve", f"PORT={port}", f"VENV={venv}"],
            cwd=ROOT,
            env=without_make(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, folder / "make.log")


@pytest.mark.slow
def test_one_more_worker_of_each_tier_joins_and_sigterm_drains_them_all(tmp_path):
    """They are asked for in code; the script prints their times, and the server uses them."""
    script = ROOT / "bench/router/add_workers.py"
    server = start(tmp_path, *CASCADE, command=(sys.executable, str(script)))
    try:
        server.wait_until_ready()
        deadline = time.monotonic() + 60
        while [w["state"] for w in server.status()["workers"]] != ["ready"] * 4:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        lines = server.log.read_text().splitlines()
        added = [json.loads(line[6:]) for line in lines if line.startswith("ADDED ")]
        assert [addition["pool"] for addition in added] == ["small", "large"]
        for addition in added:
            assert addition["seconds"] <= 20.0
            assert min(addition["phases"].values()) >= 0.0
            assert addition["phases"]["weights"] > 0.0
            assert sum(addition["phases"].values()) <= addition["seconds"]
        shown = [w["start_s"] for w in server.status()["workers"]]
        assert all(set(worker_phases) == set(added[0]["phases"]) for worker_phases in shown)
        busy: list[int] = []

        def look_and_stop() -> None:
            workers = server.status()["workers"]
            busy.extend(w["running"] for w in workers if w["tiers"] == ["small"])
            server.process.send_signal(signal.SIGTERM)

        _stop_and_check(server, look_and_stop)
        assert server.process.wait(1) == 0
        assert len(busy) == 2
        assert min(busy) > 0
    finally:
        server.stop()
