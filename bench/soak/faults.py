"""Kills, stops and pauses processes of every kind, one after another."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import psutil

from bench.harness.admin import KEY
from bench.soak.usage import role_of

KILL, STOP, PAUSE = "killed", "stopped", "paused"
# Target and blow, with how often each comes in a full deck. A stopped process stays so until the
# server replaces or continues it; a paused one goes on by itself, before it counts as lost.
DECK: Mapping[tuple[str, str], int] = {
    ("worker", KILL): 12,
    ("worker", STOP): 7,
    ("worker", PAUSE): 5,
    ("detokenizer", KILL): 3,
    ("detokenizer", STOP): 3,
    ("detokenizer", PAUSE): 2,
    ("fork server", KILL): 1,
    ("fork server", STOP): 2,
    ("planner", KILL): 2,
    ("planner", STOP): 2,
    ("fit", KILL): 1,
}
# The order of the first blows: a short soak has one of every kind of target.
FIRST = (
    ("worker", KILL),
    ("detokenizer", KILL),
    ("planner", KILL),
    ("fork server", STOP),
    ("worker", STOP),
    ("fork server", KILL),
    ("detokenizer", STOP),
)
PAUSE_S = 2.0
# The planner and a fit run only now and then.
FIND_S = 12.0
_LOOK_S = 0.05


class Faults:
    """Strikes one blow after another at a server.

    Args:
        ask_planner: asks the server for a plan, so that a planner runs.
    """

    def __init__(
        self,
        server_pid: int,
        rng: random.Random,
        tier_of: Callable[[], Awaitable[dict[int, str]]],
        ask_planner: Callable[[], Awaitable[Any]],
    ) -> None:
        self.struck: Counter[str] = Counter()
        self._server = psutil.Process(server_pid)
        self._rng = rng
        self._tier_of = tier_of
        self._ask_planner = ask_planner
        self._coming = list(reversed(FIRST))
        self._background: set[asyncio.Task[Any]] = set()

    async def strike(self) -> None:
        """One blow. Of a kind that does not run now, a worker is struck in its place."""
        if not self._coming:
            self._coming = [blow for blow, count in DECK.items() for _ in range(count)]
            self._rng.shuffle(self._coming)
        target, blow = self._coming.pop()
        process = await self._find(target)
        if process is None:
            target = "worker"
            process = await self._find(target)
        if process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            if blow == KILL:
                process.kill()
            else:
                process.suspend()
            self.struck[f"{target} {blow}"] += 1
        if blow == PAUSE:
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    async def end(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def stopped(self) -> list[int]:
        """Processes of the server that are stopped now."""
        return [
            process.pid
            for process in self._server.children(recursive=True)
            if process.is_running() and process.status() == psutil.STATUS_STOPPED
        ]

    async def _find(self, target: str) -> psutil.Process | None:
        if target == "planner":
            task = asyncio.ensure_future(self._ask_planner())
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        is_rare = target in ("planner", "fit")
        deadline = asyncio.get_running_loop().time() + (FIND_S if is_rare else 0.0)
        while True:
            tier_of = await self._tier_of()
            roles = {
                process: role
                for process in self._server.children(recursive=True)
                if (role := role_of(process, tier_of)) is not None
            }
            matches = [process for process, role in roles.items() if role.startswith(target)]
            if matches:
                return self._rng.choice(matches)
            if asyncio.get_running_loop().time() >= deadline:
                return None
            await asyncio.sleep(_LOOK_S)


async def workers_of(session: aiohttp.ClientSession, base: str) -> dict[int, str]:
    """The tier of every process of a worker that serves, by pid."""
    status = await status_of(session, base)
    return {
        pid: worker["tiers"][0]
        for worker in status["workers"]
        if worker["state"] == "ready"
        for pid in worker["pids"]
    }


async def status_of(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    """The answer of `GET /cascadia/status`."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with session.get(f"{base}/cascadia/status", headers=headers) as response:
        response.raise_for_status()
        status: dict[str, Any] = await response.json()
        return status


def listening_pid(port: int) -> int:
    """The process that listens on a port.

    Raises:
        RuntimeError: if there is none.
    """
    for connection in psutil.net_connections("tcp"):
        is_ours = connection.laddr and connection.laddr.port == port
        if is_ours and connection.status == psutil.CONN_LISTEN and connection.pid is not None:
            return int(connection.pid)
    raise RuntimeError(f"nothing listens on port {port}")
