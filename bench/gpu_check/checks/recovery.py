"""A worker that is killed comes back; Ctrl-C in a terminal lets requests end before the server."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from bench.gpu_check.checks.answers import ask, failed, questions
from bench.gpu_check.checks.drafts import cascade
from bench.gpu_check.checks.servers import Server, serving, status
from bench.gpu_check.processes import descendants
from bench.gpu_check.results import Check
from demo.tasks.families import Row

WIDTH = 8
END_S = 15.0
_POLL_S = 0.1
# Under way when Ctrl-C comes, and done before the server stops to wait, on a busy CPU too.
LONG = {"max_new_tokens": 160, "ignore_eos": True}


def run(check: Check) -> bool:
    """One server for both."""
    rows = questions(8, shift=3)
    with serving(check, Server(name="recovery", config=cascade(True))) as port:
        passed = [_comes_back(check, port, rows), _ends_gently(check, port, rows)]
    return all(passed)


def _comes_back(check: Check, port: int, rows: list[Row]) -> bool:
    """Kill the worker's process; wait until another one answers."""
    (worker,) = status(port)["workers"]
    killed = worker["pids"]
    os.kill(killed[0], signal.SIGKILL)
    began = time.monotonic()
    while check.left_s() > END_S:
        now = status(port)["workers"]
        if now and now[0]["state"] == "ready" and not set(now[0]["pids"]) & set(killed):
            break
        time.sleep(_POLL_S)
    else:
        return check.passes("a killed worker comes back", False, workers=now)
    check.number("killed worker", "restart", "until ready", "s", time.monotonic() - began)
    for phase, seconds in now[0]["start_s"].items():
        check.number("killed worker", "restart", phase, "s", float(seconds))
    answers = ask(port, rows, WIDTH)
    return check.passes(
        "a killed worker comes back and answers", not failed(answers), failed=len(failed(answers))
    )


def _ends_gently(check: Check, port: int, rows: list[Row]) -> bool:
    """SIGINT to the whole process group, as a terminal sends it, with requests under way."""
    ends: list[Any] = []

    def work() -> None:
        try:
            ends.extend(answer.status for answer in ask(port, rows, WIDTH, **LONG))
        except (OSError, RuntimeError) as error:
            ends.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    began = time.monotonic()
    while sum(worker["running"] for worker in status(port)["workers"]) == 0:
        if time.monotonic() - began > 10.0 or not thread.is_alive():
            break
        time.sleep(0.02)
    family = descendants(os.getpid())
    # The server leads a session and group of its own; it is this process's child.
    os.killpg(os.getpgid(family[0]), signal.SIGINT)
    began = time.monotonic()
    while _running(family) and time.monotonic() - began < END_S:
        time.sleep(_POLL_S)
    running = _running(family)
    check.number(
        "Ctrl-C", "requests under way", "until all has ended", "s", time.monotonic() - began
    )
    thread.join(END_S)
    gentle = len(ends) == len(rows) and all(end in (200, 503) for end in ends) and 200 in ends
    return all(
        [
            check.passes("Ctrl-C: requests under way are answered", gentle, ends=ends),
            check.passes("Ctrl-C: every process ends", not running, left=len(running)),
        ]
    )


def _running(pids: list[int]) -> list[int]:
    """Those that are there and no zombies: the reaping is left to whoever started them."""
    answered = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            answered.append(pid)
    return answered
