"""A server that is measured ends with the process that measures, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

SCRIPT = """
import subprocess, sys
from cascadia_sglang.child_server import _end_with_parent
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"],
    start_new_session=True,
    preexec_fn=_end_with_parent,
)
print(child.pid, flush=True)
child.wait()
"""


def test_a_server_is_asked_to_end_when_the_measuring_process_is_killed():
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
