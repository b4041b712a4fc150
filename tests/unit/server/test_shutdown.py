"""How the process ends once the server has been stopped."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.sglang

# Nothing to stop but the process, whose end would take minutes.
STOPPED = """
import asyncio
import atexit
import time
from types import SimpleNamespace
from cascadia_sglang.server.shutdown import stop_server
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(600)
held = Slow()
atexit.register(print, "the first")
atexit.register(print, "the second", end="")
manager = SimpleNamespace(_subprocess_watchdog=None, _server_stop_hook=None)
fleet = SimpleNamespace(pool=[], drain_all=lambda: None, end=lambda: None)
router = SimpleNamespace(active_count=0, stop_admitting=lambda: None, end_all=lambda: None)
asyncio.run(stop_server(manager, fleet, router))
"""


def test_destructors_are_not_waited_for_and_the_other_handlers_run_once():
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "the secondthe first\n"
