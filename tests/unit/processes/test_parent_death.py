"""No process of the server outlives the one that started it, whenever that one dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The child writes its pid, waits for what the test says, and then prepares as a worker does.
PROGRAM = """
import multiprocessing, os, sys, time
from pathlib import Path
from cascadia_sglang.processes.parent_death import end_with_parent

def child(folder, waits):
    (folder / "pid").write_text(str(os.getpid()))
    while waits and multiprocessing.parent_process().is_alive():
        time.sleep(0.01)
    end_with_parent()
    (folder / "prepared").touch()
    time.sleep(60)

if __name__ == "__main__":
    folder, method, waits = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "before"
    context = multiprocessing.get_context(method)
    context.Process(target=child, args=(folder, waits)).start()
    time.sleep(60)
"""


def until(message: str, happens: object) -> None:
    deadline = time.monotonic() + 20.0
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("dies", ["before", "after"])
def test_it_ends_with_its_parent(tmp_path: Path, method: str, dies: str) -> None:
    """`before`: the parent dies while the child still imports, and no signal is set yet."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, str(program), str(tmp_path), method, dies])
    try:
        ready = tmp_path / ("pid" if dies == "before" else "prepared")
        until("the child never began", lambda: ready.exists() and (tmp_path / "pid").read_text())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    pid = int((tmp_path / "pid").read_text())
    try:
        until("the child outlives its parent", lambda: not is_running(pid))
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "prepared").exists() == (dies == "after")
