"""Starting, stopping and losing processes of the real server."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
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

    def __init__(self, server: Server, lengths: Sequence[dict] = (MEDIUM, LONG)) -> None:
        self.ends: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(server, lengths[i % len(lengths)], i))
            for i in range(20)
        ]
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 20
        while server.status()["active"] < 20 and time.monotonic() < deadline:
            time.sleep(0.05)

    def _ask(self, server: Server, params: dict, number: int) -> None:
        body = {"text": f"rev {'abcdefghij'[: 2 + number % 8]}", "sampling_params": params}
        try:
            with server.client(timeout=30) as client:
                tier = {"x-cascadia-tier": "small" if number % 4 < 2 else "large"}
                response = client.post("/generate", json=body, headers=tier)
            self.ends.append(str(response.status_code))
        except httpx.HTTPError as error:
            self.ends.append(type(error).__name__)

    def land(self) -> list[str]:
        for thread in self._threads:
            thread.join(20)
        return self.ends


def _stop_and_check(server: Server, send_stop) -> None:
    family = server.family()
    flight = Flight(server)
    started = time.monotonic()
    send_stop()
    left = gone(family, 12)
    took = time.monotonic() - started
    ends = flight.land()
    assert left == []
    assert took <= 10.5, f"took {took:.1f} s"
    assert len(ends) == 20
    assert set(ends) <= {"200", "503"}, ends
    assert ends.count("200") >= 5, ends


def test_sigterm_drains_and_ends_within_ten_seconds(own_demo):
    _stop_and_check(own_demo, lambda: own_demo.process.send_signal(signal.SIGTERM))
    assert own_demo.process.wait(1) == 0


def test_ctrl_c_drains_and_ends_within_ten_seconds(own_demo):
    """A terminal sends SIGINT to the whole foreground group, not to the main process alone."""
    _stop_and_check(own_demo, lambda: os.killpg(own_demo.process.pid, signal.SIGINT))


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_make_serve_passes_the_stop_on(tmp_path, how):
    venv = Path(sys.prefix)
    port = free_port()
    log = (tmp_path / "make.log").open("wb")
    process = subprocess.Popen(
        ["make", "serve", f"PORT={port}", f"VENV={venv}"],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Server(process, port, tmp_path / "make.log")
    try:
        server.wait_until_ready()
        assert [tier["name"] for tier in server.status()["tiers"]] == ["small", "middle", "large"]
        if how == "ctrl-c":
            _stop_and_check(server, lambda: os.killpg(process.pid, signal.SIGINT))
        else:
            _stop_and_check(server, lambda: process.send_signal(signal.SIGTERM))
    finally:
        server.stop()


def test_sigkill_of_the_main_process_leaves_nothing_behind(own_demo):
    family = own_demo.family()
    assert len(family) >= 5
    own_demo.process.kill()
    assert gone(family, 5) == []


def test_one_more_worker_joins_the_running_server(tmp_path):
    """Asked for in code; the script prints its time and the server uses both workers."""
    script = ROOT / "bench/router/add_worker.py"
    server = start(tmp_path, *CASCADE, command=(sys.executable, str(script)))
    try:
        server.wait_until_ready()
        deadline = time.monotonic() + 60
        while len(server.status()["workers"]) < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
        while server.status()["workers"][-1]["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # All of one length: short ones that alternate with long ones would all be one worker's.
        flight = Flight(server, (LONG,))
        busy = [w["running"] for w in server.status()["workers"] if w["tiers"] == ["small"]]
        assert len(busy) == 2
        assert min(busy) > 0
        os.kill(server.process.pid, signal.SIGTERM)
        flight.land()
        server.process.wait(15)
        seconds = float(server.log.read_text().rpartition("added a worker in ")[2].split()[0])
        assert seconds <= 20.0
    finally:
        server.stop()
