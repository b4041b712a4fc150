"""Sliding windows of what the router saw, and whether it has changed since the plan. Pure.

Times are of one monotonic clock, in seconds, and come with every call.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascadia_sglang.reallocation.change import (
    ALPHA,
    HALF_HOUR_S,
    Change,
    Floats,
    Span,
    changes,
    level,
)

# Requests that are kept at least, where there were so many; the oldest go first.
MOST_REQUESTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One attempt of a finished request.

    Attributes:
        score: of a whole answer that came the cascade's own way; None for any other.
        ended_early: by the judge, on the cascade's own way.
        cached_tokens: of the prompt, found in the worker's cache.
    """

    tier_index: int
    score: float | None
    output_tokens: int
    seconds: float
    cached_tokens: int
    ended_early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request that got an answer, or an error after its last visit; told in order of the end."""

    at_s: float
    seconds: float
    input_tokens: int
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When the monitor looks, and at what.

    Attributes:
        look_s: between two looks.
        reference_s: how long after a plan the traffic is taken as what the plan is for.
        recent_s: spans that end now and are compared with it: a short one for large changes, a
            long one for small ones.
        alpha: chance of an alarm in half an hour without a change, at most.
    """

    look_s: float = 30.0
    reference_s: float = 300.0
    recent_s: tuple[float, ...] = (30.0, 150.0)
    alpha: float = ALPHA

    @property
    def test_level(self) -> float:
        return level(self.alpha, HALF_HOUR_S / self.look_s, len(self.recent_s))


class Monitor:
    """Holds the last requests; the traffic right after a plan is the reference for later."""

    def __init__(self, timing: Timing, now: float) -> None:
        self.timing = timing
        # Both rise in time.
        self._arrivals: list[float] = []
        self._finished: list[Finished] = []
        self._begins = now
        self._reference: Span | None = None

    def arrived(self, now: float) -> None:
        """A request came."""
        self._arrivals.append(now)
        if len(self._arrivals) >= 2 * MOST_REQUESTS:
            del self._arrivals[:-MOST_REQUESTS]

    def finished(self, request: Finished) -> None:
        """A request ended."""
        self._finished.append(request)
        if len(self._finished) >= 2 * MOST_REQUESTS:
            del self._finished[:-MOST_REQUESTS]

    def renew(self, now: float) -> None:
        """A plan has come into force: the traffic from now on is the new reference."""
        self._begins = now
        self._reference = None

    def look(self, now: float) -> list[Change]:
        """What has changed since the reference; nothing before that and a recent span are there."""
        end = self._begins + self.timing.reference_s
        if now < end:
            return []
        if self._reference is None:
            # At once, before its requests are dropped.
            self._reference = self.span(self._begins, end)
        recents = [
            self.span(now - seconds, now)
            for seconds in self.timing.recent_s
            if now - seconds >= end
        ]
        return changes(self._reference, recents, self.timing.test_level)

    def span(self, start_s: float, end_s: float) -> Span:
        """The traffic of some time; where requests were dropped, of what is left of it."""
        if len(self._arrivals) >= MOST_REQUESTS and start_s < self._arrivals[0] < end_s:
            start_s = self._arrivals[0]
        arrivals = self._arrivals[self._place(start_s) : self._place(end_s)]
        requests = self.requests(start_s, end_s)
        first = [request.visits[0] for request in requests if request.visits]
        return Span(
            start_s=start_s,
            end_s=end_s,
            arrivals_s_N=np.array(arrivals),
            values={
                "input_tokens": _floats([request.input_tokens for request in requests]),
                "output_tokens": _floats([visit.output_tokens for visit in first]),
                "score": _floats([v.score for v in first if v.score is not None]),
            },
        )

    def requests(self, start_s: float, end_s: float) -> list[Finished]:
        """Those that ended within this time."""
        first, last = (
            bisect_left(self._finished, at_s, key=lambda request: request.at_s)
            for at_s in (start_s, end_s)
        )
        return self._finished[first:last]

    def _place(self, at_s: float) -> int:
        return bisect_left(self._arrivals, at_s)

    def summary(self, now: float, tiers: list[str]) -> dict[str, Any]:
        """The longest recent span in numbers, for the status."""
        seconds = max(self.timing.recent_s)
        requests = self.requests(now - seconds, now)
        arrivals = len(self._arrivals) - self._place(now - seconds)
        visits = [visit for request in requests for visit in request.visits]
        return {
            "seconds": seconds,
            "arrivals_per_s": round(arrivals / seconds, 4),
            "input_tokens": _mean([request.input_tokens for request in requests]),
            "seconds_p95": _quantile([request.seconds for request in requests], 0.95),
            "tiers": {
                name: _tier([visit for visit in visits if visit.tier_index == index])
                for index, name in enumerate(tiers)
            },
        }


def _tier(visits: list[Visit]) -> dict[str, Any]:
    return {
        "attempts": len(visits),
        "output_tokens": _mean([visit.output_tokens for visit in visits]),
        "score": _mean([visit.score for visit in visits if visit.score is not None]),
        "seconds_p95": _quantile([visit.seconds for visit in visits], 0.95),
        "cached_tokens": _mean([visit.cached_tokens for visit in visits]),
    }


def _floats(values: list[Any]) -> Floats:
    return np.array(values, np.float64)


def _mean(values: list[Any]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _quantile(values: list[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 4) if values else None
