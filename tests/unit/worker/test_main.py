"""A worker and the detokenizer outlive the Ctrl-C that the server drains at."""

import subprocess
import sys

import pytest

# A process of its own, for the signal's handler is the whole process's.
PROGRAM = """
import os, signal, sys
from types import SimpleNamespace
from cascadia_sglang.messages import JudgeSpec, WorkerSpec
from cascadia_sglang.sglang_state import WORKER_SPEC
from cascadia_sglang.worker import main as entry

def runs(server_args=None, pipe_writer=None):
    os.kill(os.getpid(), signal.SIGINT)
    print("outlived")

entry.start_beats = lambda pipe: None
entry.apply_patches = lambda *_: None
entry.run_scheduler_process = entry.run_detokenizer_process = runs
if sys.argv[1] == "worker":
    judge = JudgeSpec(calibrations={}, record=False, counts_reasoning=False)
    spec = WorkerSpec(worker_id="w", judge=judge, threads=1, environment={}, pace=None)
    entry.run_worker(None, SimpleNamespace(**{WORKER_SPEC.name: spec}), None)
else:
    entry.run_detokenizer(None, None)
"""


@pytest.mark.parametrize("process", ["worker", pytest.param("detokenizer", marks=pytest.mark.slow)])
def test_an_interrupt_of_the_whole_process_group_is_left_to_the_server(process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, process],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "outlived\n"), done.stderr
