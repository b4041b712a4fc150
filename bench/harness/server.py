"""Starts an SGLang server as a child process and always ends it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cascadia_sglang.calibration.server import child_server

START_S = 180.0


@contextlib.contextmanager
def running_server(
    arguments: Sequence[str],
    *,
    port: int,
    log: Path,
    threads: int = 1,
    module: str = "sglang.launch_server",
) -> Iterator[int]:
    """Serve while the block runs; yields the port once the server answers.

    Args:
        arguments: of the module, without the port.
        port: on the loopback address; must be free.
        log: takes what the server prints.
        threads: OMP_NUM_THREADS of every process.
        module: what is run; it takes SGLang's server flags.

    Raises:
        RuntimeError: if the port is taken.
        CalibrationError: if the server ends or is not ready in time; names the log.
    """
    _check_free(port)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", module, *arguments, "--port", str(port)]
    with child_server(command, port, log, START_S, environment):
        yield port


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(f"port {port}: {error.strerror}") from error
