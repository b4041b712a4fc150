"""A cascade's own server in recording mode, as a child process that always ends."""

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import CalibrationError

STOP_S = 30.0
_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextlib.contextmanager
def recording_server(
    config: CascadeConfig, folder: Path, flags: Sequence[str], start_s: float
) -> Iterator[int]:
    """Serve a cascade while the block runs, on a free port of the loopback address; yields it.

    Args:
        config: with `judge.record`.
        folder: takes the cascade file that is served, and the server's log.
        flags: SGLang's, for every tier.

    Raises:
        CalibrationError: if it ends or is not ready in time.
    """
    cascade, log = folder / "recording.json", folder / "server.log"
    cascade.write_text(json.dumps(msgspec.to_builtins(config), indent=1) + "\n")
    port = free_port()
    command = [sys.executable, "-m", "sglang.launch_server", "--plugin", "cascadia"]
    command += ["--cascade-config", str(cascade), "--host", "127.0.0.1", "--port", str(port)]
    with child_server([*command, *flags], port, log, start_s):
        yield port


@contextlib.contextmanager
def child_server(
    command: Sequence[str],
    port: int,
    log: Path,
    start_s: float,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server while the block runs; the block begins when it is ready.

    The server has a session of its own, which ends as a whole; should this process be killed, the
    system ends the server.

    Args:
        command: starts SGLang's HTTP server on `port` of the loopback address.
        log: takes what the server prints.
        start_s: how long it may take until it is ready.
        environment: in place of this process's.

    Raises:
        CalibrationError: if it ends or is not ready in time; names the log and its last line.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait_until_ready(process, port, log, start_s)
        yield
    finally:
        _stop(process)


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """In the child, before it becomes the server: SIGTERM when the parent is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, log: Path, start_s: float
) -> None:
    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            raise CalibrationError(f"the server ended with {code}; {log} ends: {_last_line(log)}")
        if _is_ready(port):
            return
        time.sleep(_POLL_S)
    raise CalibrationError(
        f"the server was not ready in {start_s:.0f} s; {log} ends: {_last_line(log)}"
    )


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/health_generate")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a line"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then end its whole session."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)
