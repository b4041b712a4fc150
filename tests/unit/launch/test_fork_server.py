"""A lost or stopped fork server: nothing but the start that needs it waits for the next one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A process of its own, for it has one fork server and one way to start processes for its life.
SCRIPT = """
import asyncio, os, signal, sys, time
from multiprocessing import forkserver
from cascadia_sglang.launch import fork_server

fork_server.PRELOAD = ("cascadia_sglang.launch.fork_server", "slow_import")


async def main():
    fork_server.start_fork_server(1)
    await fork_server.await_fork_server()
    first = forkserver._forkserver._forkserver_pid
    os.kill(first, getattr(signal, sys.argv[1]))
    if sys.argv[1] == "SIGKILL":
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    ticks = []

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    await fork_server.await_fork_server()
    ended = time.monotonic()
    ticking.cancel()
    # It may have forked before the first tick.
    moments = [began, *(tick for tick in ticks if began < tick < ended), ended]
    longest = max(b - a for a, b in zip(moments, moments[1:]))
    is_same = forkserver._forkserver._forkserver_pid == first
    print(is_same, ended - began, longest)


if __name__ == "__main__":
    asyncio.run(main())
"""
IMPORT_S = 2.0


@pytest.mark.parametrize(("blow", "is_same"), [("SIGKILL", "False"), ("SIGSTOP", "True")])
def test_the_loop_runs_on_while_a_fork_server_is_replaced_or_goes_on(
    blow: str, is_same: str, tmp_path: Path
) -> None:
    (tmp_path / "slow_import.py").write_text(f"import time\ntime.sleep({IMPORT_S})\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), blow]
    # The fork server looks for modules where the environment says, and nowhere else.
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    same, waited_s, longest_s = done.stdout.split()
    assert same == is_same
    assert (float(waited_s) > IMPORT_S / 2) == (blow == "SIGKILL")
    # Less than half of the import: the loop did not wait for it.
    assert float(longest_s) < IMPORT_S / 2
