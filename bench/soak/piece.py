"""One piece of a soak: clients, faults and changes at the same time, and what is left then."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.soak.changes import Changes
from bench.soak.faults import Faults, listening_pid, status_of, workers_of
from bench.soak.mix import Mix
from bench.soak.quiet_answers import Answers, Difference, explained, is_same
from bench.soak.sending import ANSWERED, HUNG, End, send
from bench.soak.tally import Tally
from bench.soak.usage import Usage, role_of

CONCURRENCY = 16
LOOK_S = 5.0
# Until every lost worker must be back.
SETTLE_S = 120.0
# After a 503, as Retry-After asks.
BUSY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything; the piece ends at the first of `requests` and `seconds`."""

    requests: int
    faults: int
    moves: int
    seconds: float
    window: int


class Piece:
    """Runs one piece against a server and notes it in a tally."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        port: int,
        prompts: Sequence[str],
        answers: Answers,
        tally: Tally,
        seed: int,
        temporary: Path,
    ) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"
        self._answers = answers
        self._tally = tally
        self._mix = Mix(prompts, seed)
        self._rng = random.Random(f"soak {seed}")
        self._server_pid = listening_pid(port)
        self._changes = Changes(session, self._base, self._rng)
        self._usage = Usage(self._server_pid, temporary)
        self._faults = Faults(
            self._server_pid,
            self._rng,
            lambda: workers_of(session, self._base),
            self._changes.ask_planner,
        )
        self._done = 0
        self._differences: list[Difference] = []

    async def run(self, size: Size) -> None:
        """Send, strike, change; then wait until all is as before, and look at what differs."""
        self._began = time.monotonic()
        self._size = size
        before = await status_of(self._session, self._base)
        beside = [
            asyncio.create_task(self._paced(size.faults, self._faults.strike)),
            asyncio.create_task(self._paced(size.moves, self._changes.change)),
            asyncio.create_task(self._sample()),
        ]
        await asyncio.gather(*(self._client(number) for number in range(CONCURRENCY)))
        await asyncio.gather(*beside)
        await self._faults.end()
        self._tally.seconds += time.monotonic() - self._began
        self._tally.pieces += 1
        self._tally.moves += self._changes.moves
        self._tally.faults += self._faults.struck
        self._tally.changes += self._changes.outcomes
        for line in self._changes.broken:
            self._tally.changes["broken"] += 1
            self._tally.example(what="change", why=line)
        self._tally.grow(self._usage.growth(size.window))
        after = await self._settled()
        await self._note_leftovers(after)
        self._tally.calibrated += _fits(after) - _fits(before)
        for difference in self._differences:
            is_rounding = await explained(self._session, self._base, self._answers, difference)
            self._tally.differ(difference, is_explained=is_rounding)

    @property
    def _progress(self) -> float:
        """The share of the piece that is over."""
        passed_s = time.monotonic() - self._began
        return max(self._done / self._size.requests, passed_s / self._size.seconds)

    @property
    def _is_over(self) -> bool:
        return self._progress >= 1.0

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{number} {self._rng.random()}")
        while not self._is_over:
            end = await send(self._session, self._base, self._mix.draw(), rng)
            self._done += 1
            self._tally.note(end)
            self._compare(end)
            if end.status == 503:
                await asyncio.sleep(BUSY_S)
            if end.what == HUNG and self._tally.ends[HUNG] > CONCURRENCY:
                return  # the server answers nobody

    def _compare(self, end: End) -> None:
        if end.what != ANSWERED:
            return
        request = end.request
        # A header tells the largest tier of a batch.
        named = end.tier if request.kind != "batch" else None
        for prompt, choice in zip(request.prompts, end.choices, strict=False):
            tier = choice.tier or named
            self._tally.compared += 1
            if not is_same(self._answers, prompt, tier, choice):
                self._differences.append(
                    Difference(
                        route=request.route,
                        kind=request.kind,
                        prompt=prompt,
                        tier=tier,
                        text=choice.text,
                        finish=choice.finish,
                    )
                )

    async def _paced(self, count: int, act: Any) -> None:
        """Act so often, evenly over the piece."""
        for number in range(count):
            while self._progress < (number + 0.5) / count:
                await asyncio.sleep(0.05)
            if self._is_over:
                return
            await act()

    async def _sample(self) -> None:
        while not self._is_over:
            self._usage.sample(self._done, await workers_of(self._session, self._base))
            await asyncio.sleep(LOOK_S)

    async def _settled(self) -> dict[str, Any]:
        """The status once nothing runs and every tier has its workers, or the time is up."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            status = await status_of(self._session, self._base)
            if not any(_left(status).values()) or time.monotonic() > deadline:
                return status
            await asyncio.sleep(0.5)

    async def _note_leftovers(self, status: dict[str, Any]) -> None:
        self._tally.left.update(_left(status))
        workers = {p: w["tiers"][0] for w in status["workers"] for p in w["pids"]}
        children = psutil.Process(self._server_pid).children(recursive=True)
        roles = [role_of(process, workers) for process in children]
        # A worker that nobody knows keeps the name that SGLang gave it.
        strays = sum("sglang::scheduler" in _line(c) and c.pid not in workers for c in children)
        self._tally.left["processes"] += strays + roles.count("detokenizer") - 1
        self._tally.left["stopped processes"] += len(self._faults.stopped())


def _left(status: dict[str, Any]) -> dict[str, int]:
    """What a quiet server has none of."""
    ready = {w["tiers"][0] for w in status["workers"] if w["state"] == "ready"}
    starting = sum(worker["state"] != "ready" for worker in status["workers"])
    running = sum(worker["running"] for worker in status["workers"])
    missing = len({tier["name"] for tier in status["tiers"]} - ready) + starting
    return {"requests": running + status["active"] + status["rids"], "workers missing": missing}


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _fits(status: dict[str, Any]) -> int:
    """Tiers that have calibrated themselves."""
    states = [tier["self_calibration"] for tier in status["tiers"]]
    return sum(state is not None and state["state"] == "fitted" for state in states)
