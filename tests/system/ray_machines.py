"""A Ray cluster of several nodes on this machine, on the loopback address alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.system.serving import free_port

UP_S = 60.0
# `ray start`, which lets a further machine have the loopback address too.
_START = """
import sys
from ray._private import ray_constants, services
from ray.scripts.scripts import main

ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = lambda host: host
sys.exit(main())
"""


@dataclass
class Machine:
    """A node of Ray, with all that runs on it."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def raylet(self) -> psutil.Process:
        return next(p for p in self.family() if p.name() == "raylet")

    @property
    def head(self) -> psutil.Process:
        """The process that knows the cluster; on the first machine alone."""
        return next(p for p in self.family() if p.name() == "gcs_server")

    def agents(self) -> list[psutil.Process]:
        """Agents of servers."""
        return [p for p in self.family() if _title(p).startswith("ray::AgentActor")]

    def workers(self) -> list[psutil.Process]:
        """Workers of servers."""
        return [p for p in self.family() if _title(p).startswith("sglang::scheduler")]

    def family(self) -> list[psutil.Process]:
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> list[psutil.Process]:
        """Send a signal to all of them, as the loss of the machine would."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return family


class RayMachines:
    """Owns the machines; the first is the one that the server runs on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.environment = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",
        }
        self.machines: list[Machine] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def add(self) -> Machine:
        """One more machine, once it is up."""
        if self.machines:
            role = (f"--address={self.address}",)
        else:
            role = ("--head", f"--port={self._port}", "--include-dashboard=false")
            role = (*role, f"--temp-dir=/tmp/r{self._port}")
        log = self._folder / f"ray-{len(self.machines)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _START, "start", "--block"),
                    *("--node-ip-address=127.0.0.1", "--num-cpus=0", "--num-gpus=0"),
                    *("--min-worker-port=0", "--max-worker-port=0"),
                    f"--dashboard-agent-listen-port={free_port()}",
                    *("--object-store-memory=80000000", "--disable-usage-stats"),
                    *role,
                ],
                env={**os.environ, **self.environment, "HOME": str(self._folder)},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        machine = Machine(process, log)
        self.machines.append(machine)
        deadline = time.monotonic() + UP_S
        while b"runtime started" not in log.read_bytes():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        return machine

    def stop(self) -> None:
        """End every machine that is still there."""
        for machine in self.machines:
            if machine.process.poll() is None:
                machine.kill()
            machine.process.wait(15)


@contextlib.contextmanager
def two_machines(folder: Path) -> Iterator[RayMachines]:
    """The server's machine and one more, while the block runs."""
    machines = RayMachines(folder)
    try:
        machines.add()
        machines.add()
        yield machines
    finally:
        machines.stop()


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
        return str(process.cmdline()[0])
    return ""
