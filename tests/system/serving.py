"""The real server on the real demo models, started as a user would start it."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120.0
# An environment of SGLang with the CPU platform and without our plugin.
PLATFORM_ALONE = {"SGLANG_PLUGINS": "cascadia_cpu"}


def free_port() -> int:
    """One that nobody takes before the server binds it, seconds later.

    The system gives away those from 32,768 on. SGLang takes 22,000 to 29,999 between its processes.
    """
    while True:
        port = random.randint(10_000, 20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Server:
    """A running server process and how to talk to it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, timeout: float = 60.0) -> httpx.Client:
        # The server speaks plain HTTP. To read all certificates takes longer than most requests.
        return httpx.Client(base_url=self.url, timeout=timeout, verify=False)

    def status(self) -> dict:
        with self.client() as client:
            return client.get("/cascadia/status").json()

    def family(self) -> list[psutil.Process]:
        """The main process and everything below it."""
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def wait_until_ready(self, within_s: float = READY_S) -> None:
        deadline = time.monotonic() + within_s
        with self.client(timeout=30) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended:\n{self.log.read_text()[-3000:]}")
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/health_generate").status_code == 200:
                        return
                time.sleep(0.1)
        raise RuntimeError(f"not ready in {within_s:.0f} s:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it and whatever it started, however it stands."""
        if self.process.poll() is None:
            family = self.family()
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            for process in family:
                if process.is_running():
                    process.kill()
            self.process.wait(15)


def start(
    folder: Path,
    *arguments: str,
    command: tuple[str, ...] | None = None,
    environment: dict[str, str] | None = None,
) -> Server:
    """Start a server with these arguments after `sglang.launch_server`, or another command."""
    port = free_port()
    log = folder / f"server-{port}.log"
    launch = command or (sys.executable, "-m", "sglang.launch_server")
    if "--plugin" in arguments:
        arguments = (*arguments, "--cascade-logs", f"{log}.workers")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*launch, *arguments, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, log)


CASCADE = ("--plugin", "cascadia", "--cascade-config", "tests/system/cascade.yaml")


def gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """The processes that are still there after this time."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
