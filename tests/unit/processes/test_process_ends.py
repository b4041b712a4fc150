"""The event loop is told once when a process ends."""

import asyncio
import multiprocessing
import time

from cascadia_sglang.processes.process_ends import ProcessEnds


async def seen(ends: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(ends) < count:
            await asyncio.sleep(0.005)


async def test_each_end_is_told_once_and_the_last_watcher_hears_of_it() -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=time.sleep, args=(60,), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    told: list[str] = []
    ends = ProcessEnds()
    ends.watch(processes, lambda: told.append("earlier"))
    ends.watch(processes, lambda: told.append("later"))
    processes[0].kill()
    await seen(told, 1)
    # The sentinel of an ended process stays readable.
    await asyncio.sleep(0.05)
    assert told == ["later"]
    # One that has ended before it is watched is told of as well.
    ends.watch(processes, lambda: told.append("again"))
    await seen(told, 2)
    ends.close()
    processes[1].kill()
    processes[1].join()
    await asyncio.sleep(0.05)
    assert told == ["later", "again"]
