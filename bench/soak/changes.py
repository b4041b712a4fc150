"""Moves, thresholds and plans that are changed while requests run, and routes that are read."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import aiohttp

from bench.harness.admin import KEY

HEADERS = {"authorization": f"Bearer {KEY}"}
# Devices in name: two workers of the small tier, one of each other, and one more.
BUDGET = 5
REPLICAS = ((2, 1, 1), (1, 1, 1), (2, 1, 2), (1, 1, 2), (2, 2, 1), (1, 2, 1))
THRESHOLDS = ((0.9588, 0.4499), (0.8, 0.6), (0.97, 0.3), (0.5, 0.5))
READ = (
    "/cascadia/plan",
    "/cascadia/live",
    "/cascadia/recent",
    "/cascadia",
    "/metrics",
    "/v1/models",
    "/cascadia/status",
)
# A change may find no calibration (400), a move under way or too few requests to plan by (409), or
# a worker or a planner that was killed meanwhile (503, and 504 for a planner that was stopped).
CLEAR = (200, 400, 409, 503, 504)
_LIMIT_S = 180.0


class Changes:
    """Changes a running cascade by its admin routes.

    Attributes:
        moves: that were carried out.
        outcomes: of every call, by what it was and its status.
        broken: calls without a clear answer.
    """

    def __init__(self, session: aiohttp.ClientSession, base: str, rng: random.Random) -> None:
        self.moves = 0
        self.outcomes: Counter[str] = Counter()
        self.broken: list[str] = []
        self._session = session
        self._base = base
        self._rng = rng
        self._turn = 0

    async def change(self) -> None:
        """The next change: a move, thresholds, both as one plan, and the planner's own, in turn."""
        small, middle, large = self._rng.choice(REPLICAS)
        tiers = {"small": small, "middle": middle, "large": large}
        plan = {name: {"replicas": count} for name, count in tiers.items()}
        thresholds = list(self._rng.choice(THRESHOLDS))
        match self._turn % 4:
            case 0:
                await self._move("plan", {"tiers": plan})
            case 1:
                await self._call("thresholds", {"thresholds": thresholds})
            case 2:
                tier = self._rng.choice(list(tiers))
                await self._move("workers", {"tier": tier, "replicas": tiers[tier]})
            case 3:
                await self._move("plan", {"tiers": plan, "thresholds": thresholds})
        self._turn += 1
        for path in READ:
            await self._read(path)

    async def ask_planner(self) -> None:
        """Ask for a plan, which is not carried out."""
        await self._call("plan", {"dry_run": True})

    async def _move(self, route: str, body: dict[str, Any]) -> None:
        if await self._call(route, body) == 200:
            self.moves += 1

    async def _call(self, route: str, body: dict[str, Any]) -> int:
        url = f"{self._base}/cascadia/{route}"
        return await self._request("POST", url, f"{route} {sorted(body)}", body)

    async def _read(self, path: str) -> None:
        await self._request("GET", self._base + path, path, None)

    async def _request(self, method: str, url: str, name: str, body: Any) -> int:
        try:
            async with asyncio.timeout(_LIMIT_S):
                async with self._session.request(
                    method, url, json=body, headers=HEADERS
                ) as response:
                    text = await response.text()
                    status = response.status
        except (TimeoutError, aiohttp.ClientError) as error:
            self.broken.append(f"{name}: {error!r}")
            return 0
        self.outcomes[f"{name}: {status}"] += 1
        is_clear = status in CLEAR if method == "POST" else status == 200
        if not is_clear or "Traceback" in text:
            self.broken.append(f"{name}: {status} {text[:300]}")
        return status
