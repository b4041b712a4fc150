"""Starts an SGLang server as a child process and always ends it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
START_S = 180.0
STOP_S = 30.0


@contextlib.contextmanager
def running_server(
    arguments: Sequence[str],
    *,
    port: int,
    log: Path,
    threads: int | None = 1,
    environment: Mapping[str, str] | None = None,
    module: str = "sglang.launch_server",
) -> Iterator[int]:
    """Serve while the block runs; yields the port once the server answers.

    The server has a session of its own, so that whatever it started ends with it, and nothing
    else does. It is asked to end where this process is killed.

    Args:
        arguments: of the module, without the port.
        port: on the loopback address; must be free.
        log: takes what the server prints.
        threads: OMP_NUM_THREADS of every process; None for what the caller has.
        environment: added to the caller's.
        module: what is run; it takes SGLang's server flags.

    Raises:
        RuntimeError: with the end of the log, if it ends or is not ready in time.
    """
    _check_free(port)
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    all_of_it = {**os.environ, "HF_HUB_OFFLINE": "1", **own, **(environment or {})}
    command = [sys.executable, "-m", module, *arguments, "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=all_of_it,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait_until_ready(process, port, log)
        yield port
    finally:
        _stop(process)


def _end_with_parent() -> None:
    """In the child: be asked to end when the process that measures is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(f"port {port}: {error.strerror}") from error


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}\n{_end_of(log)}")
        if _is_healthy(port):
            return
        time.sleep(0.5)
    raise RuntimeError(f"the server was not ready in {START_S:.0f} s\n{_end_of(log)}")


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/health_generate")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then end its whole session."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)
