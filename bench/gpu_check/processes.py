"""Runs one stage as a process and ends whatever it has started, in whichever session that is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_END_S = 5.0
_POLL_S = 0.05


def adopt_orphans() -> None:
    """Have orphaned descendants become this process's children, so that none is lost sight of."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def run_for(
    command: Sequence[str], limit_s: float, out: BinaryIO, environment: Mapping[str, str], at: Path
) -> int | None:
    """Run a command in a session of its own; its exit code, or None where it ran over.

    Afterwards nothing that it started is left. Whoever calls has called `adopt_orphans`.
    """
    process = subprocess.Popen(
        command,
        cwd=at,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(limit_s)
    finally:
        end_all()
    return code


def end_all() -> None:
    """Kill all descendants of this process and wait until they are gone, `_END_S` at most."""
    deadline = time.monotonic() + _END_S
    while (running := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(_POLL_S)


def descendants(root: int) -> list[int]:
    """Processes below this one, children first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name in parentheses may hold spaces; the parent is the second word after it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    pids: list[int] = []
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop(0)
        pids.append(pid)
        waiting += children.get(pid, ())
    return pids


def _reap() -> None:
    """Take the exit codes of children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
