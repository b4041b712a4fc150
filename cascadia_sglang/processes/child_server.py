"""An SGLang server as a child process that always ends, for commands."""

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cascadia_sglang.errors import StartError

START_S = 180.0
STOP_S = 30.0
_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextlib.contextmanager
def running_server(
    arguments: Sequence[str],
    *,
    port: int,
    log: Path,
    start_s: float = START_S,
    environment: Mapping[str, str] | None = None,
    module: str = "sglang.launch_server",
) -> Iterator[int]:
    """Serve while the block runs; yields the port once the server answers.

    The server has a session of its own, which ends as a whole; should this process be killed, the
    system asks the server to end.

    Args:
        arguments: of the module, without the port.
        port: on the loopback address; must be free.
        log: takes what the server prints; a cascade's workers log into the folder LOG.workers.
        start_s: how long it may take until it is ready.
        environment: added to this process's.
        module: what is run; it takes SGLang's server flags.

    Raises:
        StartError: if the port is taken, or the server ends or is not ready in time; names the log
            and its last line.
    """
    _check_free(port)
    process = None
    at_port = ("--port", str(port))
    try:
        with log.open("wb") as out, _signals_after_start():
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, *_logs(arguments, log), *at_port],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        _wait_until_ready(process, port, log, start_s)
        yield port
    finally:
        if process is not None:
            _stop(process)


def _logs(arguments: Sequence[str], log: Path) -> tuple[str, ...]:
    """The flag that keeps a cascade's workers from logging where the user's own servers do."""
    return ("--cascade-logs", f"{log}.workers") if "--plugin" in arguments else ()


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port}: {error.strerror}") from error


@contextlib.contextmanager
def _signals_after_start() -> Iterator[None]:
    """Hold SIGTERM and SIGINT back until the block ends, then handle them.

    A fork runs callbacks, and Python drops an exception that a signal handler raises in one.
    """
    held: list[int] = []
    before = {}
    # Python runs signal handlers in the main thread alone.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda code, _: held.append(code))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for code in held:
            signal.raise_signal(code)


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
            raise StartError(f"the server ended with {code}; {log} ends: {_last_line(log)}")
        if _is_ready(port):
            return
        time.sleep(_POLL_S)
    raise StartError(f"the server was not ready in {start_s:.0f} s; {log} ends: {_last_line(log)}")


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
