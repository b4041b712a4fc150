"""SGLang's server, and how long its event loop was held: a command in the place of SGLang's.

A task sleeps for a millisecond again and again. What the loop's thread computes between two of its
turns is a stretch for which other requests wait. Time in which other processes, or other threads,
had the cores does not count. The stretches go to the file that `LOOP_STRETCHES` names, one a line:
when it ended on the clock of all processes, and its seconds.
"""

import asyncio
import os
import runpy
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn

PERIOD_S = 0.001
# Shorter ones delay nobody.
LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds for which the loop was held, up to a moment of `time.monotonic()`."""

    ended_s: float
    held_s: float


def stretches(path: Path, begin_s: float, end_s: float) -> list[Stretch]:
    """Those of a file that ended between two moments."""
    all_of_it = (
        Stretch(*map(float, line.split())) for line in path.read_text().splitlines() if line
    )
    return [stretch for stretch in all_of_it if begin_s <= stretch.ended_s <= end_s]


async def watch(path: Path) -> None:
    """Write the stretches, until the task is cancelled."""
    with path.open("w", buffering=1) as file:
        while True:
            begin_s = time.thread_time()
            await asyncio.sleep(PERIOD_S)
            held_s = time.thread_time() - begin_s
            if held_s >= LEAST_S:
                file.write(f"{time.monotonic()} {held_s}\n")


class WatchedServer(uvicorn.Server):
    """Serves with a watcher on the same loop."""

    async def serve(self, *args, **kwargs) -> None:
        watcher = asyncio.create_task(watch(Path(os.environ["LOOP_STRETCHES"])))
        try:
            await super().serve(*args, **kwargs)
        finally:
            watcher.cancel()


if __name__ == "__main__":
    uvicorn.Server = WatchedServer
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
