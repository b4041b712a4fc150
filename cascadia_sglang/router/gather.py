"""Several attempts or prompts of one request at a time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from cascadia_sglang.router.attempt import Output


async def all_or_none(runs: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure ends the others."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def as_accepted(
    tasks: list[asyncio.Task[list[Output]]], samples_each: int
) -> AsyncIterator[Output]:
    """Items of prompts in the order in which they are accepted, with their place in the batch."""
    first_index = {task: number * samples_each for number, task in enumerate(tasks)}
    waiting = set(tasks)
    while waiting:
        finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            for offset, item in enumerate(task.result()):
                yield {**item, "index": first_index[task] + offset}
