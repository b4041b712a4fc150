"""A server that is measured ends with the process that measures, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.repo.source import ROOT

SCRIPT = """
import subprocess, sys
from cascadia_sglang.processes.child_server import _end_with_parent
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"],
    start_new_session=True,
    preexec_fn=_end_with_parent,
)
print(child.pid, flush=True)
child.wait()
"""


def test_a_server_is_asked_to_end_when_the_measuring_process_is_killed():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []


SIGNALLED_WHILE_FORKING = """
import os, signal, sys
from pathlib import Path
from cascadia_sglang.processes.child_server import free_port, running_server

def end(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, end)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
with running_server([], port=free_port(), log=Path(sys.argv[1]), start_s=5, module="asyncio"):
    pass
"""


def test_a_signal_that_comes_while_the_server_is_forked_is_not_lost(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED_WHILE_FORKING, str(tmp_path / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
