"""How the process ends once the server has been stopped."""

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.sglang

SLOW_TO_FINALIZE = """
import atexit
import time
from cascadia_sglang.workers import stop
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(30)
held = Slow()
atexit.register(print, "the first")
atexit.register(print, "the second", end="")
atexit.register(stop._end_without_finalizing)
"""


def test_destructors_are_not_waited_for_and_the_other_handlers_run_once():
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", SLOW_TO_FINALIZE], capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - started < 30
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "the secondthe first\n"
