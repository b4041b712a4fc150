"""A controller like CascadeServe's (arXiv 2406.14424): gears by measured load, placement fixed.

A gear is a threshold and the highest request rate that it was planned for. While requests run, the
rate of arrivals is measured again and again, and the first gear that carries it is in force: the
most accurate one. One that accepts more is taken at once; back to a more accurate one it goes only
where few requests wait, as there, where a gear is kept while the rate is below eight times the
queue. CascadeServe has no code to run; this is written after its paper, and everything that it
decides is in `chosen`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.harness.admin import ask

LOOK_S = 0.1
# Arrivals are counted over so long: at a few requests a second a tenth of one says nothing.
SPAN_S = 2.0
RATE_PER_QUEUED = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gear:
    """A threshold, and up to which rate it is in force."""

    threshold: float
    most_per_s: float


def chosen(gears: Sequence[Gear], now: int, rate_per_s: float, queued: int) -> int:
    """The gear to be in force, by its place.

    Args:
        gears: the most accurate first; rates rise, and the last one takes whatever is above them.
        now: the gear in force.
        queued: requests that wait, beyond those that the workers run.
    """
    carrying = bisect_left([gear.most_per_s for gear in gears[:-1]], rate_per_s)
    if carrying < now and rate_per_s < RATE_PER_QUEUED * queued:
        return now
    return carrying


@dataclass(slots=True)
class RateMeter:
    """Arrivals a second over the last `span_s`, of looks at a counter."""

    span_s: float = SPAN_S
    _looks: deque[tuple[float, int]] = field(default_factory=deque)

    def rate_per_s(self, at_s: float, arrived: int) -> float:
        """The rate after one more look; 0 after the first.

        Args:
            at_s: rises from look to look.
            arrived: requests that have come since the server's start.
        """
        self._looks.append((at_s, arrived))
        while len(self._looks) > 2 and self._looks[1][0] <= at_s - self.span_s:
            self._looks.popleft()
        before_s, before = self._looks[0]
        return (arrived - before) / (at_s - before_s) if at_s > before_s else 0.0


def arrived(status: dict[str, Any]) -> int:
    """Requests that have come, of a server's status: those answered and those under way."""
    return sum(tier["answered"] for tier in status["tiers"]) + int(status["active"])


def queued(status: dict[str, Any], most_running: dict[str, int]) -> int:
    """Attempts that wait, of a server's status.

    Args:
        most_running: attempts that a worker of each tier runs at once.
    """
    return sum(
        max(0, worker["running"] - most_running[worker["tiers"][0]]) for worker in status["workers"]
    )


class GearsByRate:
    """Shifts a server's gears in a thread of its own, from `start` to `stop`.

    Args:
        port: of the server, whose planner and own gears are off.
        gears, most_running: as `chosen` and `queued` have them.
    """

    def __init__(self, port: int, gears: Sequence[Gear], most_running: dict[str, int]) -> None:
        self.shifts = 0
        self._port = port
        self._gears = gears
        self._most_running = most_running
        self._gear = 0
        self._meter = RateMeter()
        self._is_over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin with the most accurate gear."""
        self._set()
        self._thread.start()

    def stop(self, wait_s: float = 30.0) -> None:
        """End the thread.

        Raises:
            RuntimeError: if it failed meanwhile, or does not end within `wait_s`.
        """
        self._is_over.set()
        self._thread.join(wait_s)
        if self._error is not None or self._thread.is_alive():
            raise RuntimeError(f"the gears of port {self._port} failed: {self._error}")

    def _run(self) -> None:
        try:
            while not self._is_over.wait(LOOK_S):
                self._look()
        except (OSError, RuntimeError) as error:
            self._error = error

    def _look(self) -> None:
        status = ask(self._port, "GET", "/cascadia/status")
        rate_per_s = self._meter.rate_per_s(time.monotonic(), arrived(status))
        gear = chosen(self._gears, self._gear, rate_per_s, queued(status, self._most_running))
        if gear != self._gear:
            self._gear = gear
            self.shifts += 1
            self._set()

    def _set(self) -> None:
        threshold = self._gears[self._gear].threshold
        ask(self._port, "POST", "/cascadia/thresholds", {"thresholds": [threshold]})
