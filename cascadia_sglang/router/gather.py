"""Several attempts of one request at a time."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def all_or_none(runs: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure ends the others."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
