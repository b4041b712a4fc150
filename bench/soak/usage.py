"""What the processes of a server hold: memory, descriptors, sockets and shared memory."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.soak.growth import increments

SHARED = "shared memory"
_MIB = 2**20
METRICS = {
    "rss_mib": "MiB",
    "pss_mib": "MiB",
    "descriptors": "count",
    "sockets": "count",
    "threads": "count",
    "files": "count",
}


def role_of(process: psutil.Process, tier_of: dict[int, str]) -> str | None:
    """What a process of the server is for; None for one that is gone or starts.

    Args:
        tier_of: of the workers' processes, by pid.
    """
    if process.pid in tier_of:
        return f"worker {tier_of[process.pid]}"
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return None
    roles = {
        "sglang::detokenizer": "detokenizer",
        "multiprocessing.forkserver": "fork server",
        "plan_process": "planner",
        "fit_process": "fit",
        "sglang.launch_server": "server",
    }
    return next((role for mark, role in roles.items() if mark in line), None)


def measure(pid: int) -> dict[str, float]:
    """Of one process, by the names of `METRICS`; empty once it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        sizes = dict(_sizes(folder / "smaps_rollup"))
        targets = list(_targets(folder / "fd"))
        threads = len(os.listdir(folder / "task"))
    except OSError:
        return {}
    return {
        "rss_mib": sizes["Rss"] / 1024,
        "pss_mib": sizes["Pss"] / 1024,
        "descriptors": len(targets),
        "sockets": sum(target.startswith("socket:") for target in targets),
        "threads": threads,
    }


def _sizes(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        yield name, int(rest.split()[0])


def _targets(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(folder / name)


def shared_mib() -> float:
    """Of all that lies in /dev/shm."""
    total = 0
    for name in os.listdir("/dev/shm"):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(f"/dev/shm/{name}").st_blocks * 512
    return total / _MIB


class Usage:
    """Samples of a server's processes over the requests that it has answered.

    Args:
        temporary: the server's folder for temporary files.
    """

    def __init__(self, server_pid: int, temporary: Path) -> None:
        self._temporary = temporary
        self._server = psutil.Process(server_pid)
        self._samples: dict[tuple[str, int, str], list[tuple[int, float]]] = defaultdict(list)

    def sample(self, answered: int, tier_of: dict[int, str]) -> None:
        """Sample every process now."""
        for process in (self._server, *self._server.children(recursive=True)):
            role = role_of(process, tier_of)
            for name, value in measure(process.pid).items() if role else ():
                self._samples[role, process.pid, name].append((answered, value))
        shared = os.listdir("/dev/shm")
        self._samples[SHARED, 0, "mib"].append((answered, shared_mib()))
        self._samples[SHARED, 0, "files"].append((answered, len(shared)))
        left = len(os.listdir(self._temporary))
        self._samples["temporary folder", 0, "files"].append((answered, left))

    def growth(self, window: int) -> dict[str, list[float]]:
        """Increments per 1,000 requests by `role metric`, of all processes of a role."""
        grown: dict[str, list[float]] = defaultdict(list)
        for (role, _, name), samples in self._samples.items():
            grown[f"{role} {name}"] += increments(samples, window)
        return {key: values for key, values in grown.items() if values}

    def last(self) -> dict[str, float]:
        """The last value of every role and metric, of one of its processes."""
        return {f"{role} {name}": s[-1][1] for (role, _, name), s in self._samples.items()}
