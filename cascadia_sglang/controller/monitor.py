"""Sliding windows of the router's traffic, and whether it changed since the plan. Pure.

Times are of one monotonic clock, in seconds, and come with every call.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.controller.traffic_change import (
    ALPHA,
    HALF_HOUR_S,
    Change,
    Span,
    changes,
    level,
)

# Requests that are kept at least, where there were so many; the oldest go first.
MOST_REQUESTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVisit:
    """One attempt that has ended.

    Attributes:
        score: of a whole answer that came the cascade's own way; None for any other.
        ended_early: by the judge, on the cascade's own way.
        output_tokens: of the answer, with what is of a draft.
        prompt_tokens: in the tier's own tokens.
        cached_tokens: of them, found in the worker's cache.
        kept_tokens: of the draft that it read, the answer of the visit before; None where it read
            none.
    """

    tier_index: int
    score: float | None
    output_tokens: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    ended_early: bool = False
    kept_tokens: int | None = None


@dataclass(slots=True, kw_only=True)
class RecordedRequest:
    """A request of which something is known: its first attempt has ended.

    Told then, in that order, and not at its end: those that wait for a larger tier would be missing
    from the last seconds, and with them what has changed.

    Attributes:
        at_s: when its first attempt ended; of one without any, when it was given up.
        seconds: from its arrival until then.
        input_tokens: of its prompt, in the tokens of the first tier that answered.
        visits: the attempts that have ended so far.
        is_open: whether it climbs on.
    """

    at_s: float
    seconds: float
    input_tokens: int
    visits: tuple[RecordedVisit, ...]
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When the monitor looks, and at what.

    Attributes:
        look_s: between two looks.
        reference_s: how long the traffic is, at most, that is taken as what a plan is for.
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
        # All rise in time.
        self._arrivals: list[float] = []
        self._seen: list[RecordedRequest] = []
        self._ends: list[tuple[float, float]] = []  # of requests, with the seconds they took
        self._unseen = 0
        self._begins = now
        self._reference: Span | None = None

    def arrived(self, now: float) -> None:
        """A request came."""
        self._unseen += 1
        self._arrivals.append(now)
        _cut(self._arrivals)

    def add(self, request: RecordedRequest) -> None:
        """A request's first attempt ended. What comes of it later is written into it."""
        self._unseen -= 1
        self._seen.append(request)
        _cut(self._seen)

    def ended(self, now: float, seconds: float) -> None:
        """A request ended, with an answer or without one."""
        self._ends.append((now, seconds))
        _cut(self._ends)

    @property
    def unseen(self) -> int:
        """Requests that have come and of which nothing is known yet."""
        return self._unseen

    def climbing(self) -> list[RecordedRequest]:
        """Requests whose first attempt has ended and that climb on."""
        return [request for request in self._seen if request.is_open]

    def seconds(self, start_s: float, end_s: float) -> list[float]:
        """That the requests took which ended within this time."""
        first, last = (
            bisect_left(self._ends, at_s, key=lambda end: end[0]) for at_s in (start_s, end_s)
        )
        return [seconds for _, seconds in self._ends[first:last]]

    def renew(self, start_s: float) -> None:
        """A plan has come into force that is for the traffic from then on: the new reference.

        It may have begun already. What a plan was made for is known when it comes into force, and
        traffic that turns right after that is not to be taken for what it is for.
        """
        self._begins = start_s
        self._reference = None

    def check(self, now: float) -> list[Change]:
        """What has changed since the reference, which grows until it is long enough.

        A recent span is compared with one that is at least as long, and ends before it.
        """
        pairs = []
        for seconds in self.timing.recent_s:
            start_s = now - seconds
            if start_s - self._begins >= seconds:
                pairs.append((self._reference_until(start_s), self.span(start_s, now)))
        return changes(pairs, self.timing.test_level)

    def _reference_until(self, end_s: float) -> Span:
        whole_s = self._begins + self.timing.reference_s
        if end_s < whole_s:
            return self.span(self._begins, end_s)
        if self._reference is None:
            # At once, before its requests are dropped.
            self._reference = self.span(self._begins, whole_s)
        return self._reference

    def span(self, start_s: float, end_s: float) -> Span:
        """The traffic of some time; where requests were dropped, of what is left of it."""
        if len(self._arrivals) >= MOST_REQUESTS and start_s < self._arrivals[0] < end_s:
            start_s = self._arrivals[0]
        arrivals = self._arrivals[self._arrival_index(start_s) : self._arrival_index(end_s)]
        requests = self.requests(start_s, end_s)
        first = [request.visits[0] for request in requests if request.visits]
        return Span(
            start_s=start_s,
            end_s=end_s,
            arrivals_s_N=np.array(arrivals),
            values={
                "input_tokens": _floats([request.input_tokens for request in requests]),
                "output_tokens": _floats([visit.output_tokens for visit in first]),
                "score": _floats([v for visit in first if (v := _score(visit)) is not None]),
            },
        )

    def requests(self, start_s: float, end_s: float) -> list[RecordedRequest]:
        """Those whose first attempt ended within this time."""
        first, last = (
            bisect_left(self._seen, at_s, key=lambda request: request.at_s)
            for at_s in (start_s, end_s)
        )
        return self._seen[first:last]

    def _arrival_index(self, at_s: float) -> int:
        return bisect_left(self._arrivals, at_s)

    def summary(self, now: float, tiers: list[str]) -> dict[str, Any]:
        """The longest recent span in numbers, for the status."""
        seconds = max(self.timing.recent_s)
        requests = self.requests(now - seconds, now)
        arrivals = len(self._arrivals) - self._arrival_index(now - seconds)
        visits = [visit for request in requests for visit in request.visits]
        return {
            "seconds": seconds,
            "arrivals_per_s": round(arrivals / seconds, 4),
            "input_tokens": _mean([request.input_tokens for request in requests]),
            "seconds_p95": _quantile(self.seconds(now - seconds, now), 0.95),
            "tiers": {
                name: _tier([visit for visit in visits if visit.tier_index == index])
                for index, name in enumerate(tiers)
            },
        }


def _score(visit: RecordedVisit) -> float | None:
    """One that was ended early would have scored little, and is not to be missing."""
    return 0.0 if visit.ended_early else visit.score


def _cut(requests: list[Any]) -> None:
    if len(requests) >= 2 * MOST_REQUESTS:
        del requests[:-MOST_REQUESTS]


def _tier(visits: list[RecordedVisit]) -> dict[str, Any]:
    return {
        "attempts": len(visits),
        "output_tokens": _mean([visit.output_tokens for visit in visits]),
        "score": _mean([visit.score for visit in visits if visit.score is not None]),
        "seconds_p95": _quantile([visit.seconds for visit in visits], 0.95),
        "prompt_tokens": _mean([visit.prompt_tokens for visit in visits]),
        "cached_tokens": _mean([visit.cached_tokens for visit in visits]),
    }


def _floats(values: list[Any]) -> FloatArray:
    return np.array(values, np.float64)


def _mean(values: list[Any]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _quantile(values: list[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 4) if values else None
