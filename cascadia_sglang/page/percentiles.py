"""Latency percentiles of the last hour, by minute and path, from counts in narrow buckets.

A bucket is `1/16` of an octave wide, so a percentile is off by 2.2 % at most. Memory depends on the
number of paths and not on the number of requests. So does the time of a summary, which the event
loop waits for.

Shape legend: B buckets.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MINUTES = 60
QUANTILES = (0.5, 0.95, 0.99)
# Paths of a minute that keep their names; all others share one.
MOST_PATHS = 16
OTHER_PATHS = "other"

_PER_OCTAVE = 16
_LEAST_S = 1e-4
_MOST_BUCKET = 24 * _PER_OCTAVE  # about 28 minutes
BUCKETS = _MOST_BUCKET + 1

CountArray = npt.NDArray[np.uint32]


def bucket_of(seconds: float) -> int:
    """The bucket that a time falls into."""
    if seconds <= _LEAST_S:
        return 0
    return min(_MOST_BUCKET, 1 + int(math.log2(seconds / _LEAST_S) * _PER_OCTAVE))


def seconds_of(bucket: int) -> float:
    """The geometric middle of a bucket."""
    return _LEAST_S * 2.0 ** ((bucket - 0.5) / _PER_OCTAVE) if bucket else _LEAST_S


def quantiles(counts_B: CountArray) -> list[float] | None:
    """The times at `QUANTILES` of counts by bucket, in seconds; None without any."""
    seen_B = np.cumsum(counts_B, dtype=np.int64)
    total = int(seen_B[-1])
    if not total:
        return None
    buckets = np.searchsorted(seen_B, np.multiply(QUANTILES, total) - 1e-9)
    return [round(seconds_of(int(bucket)), 6) for bucket in buckets]


def _no_counts() -> CountArray:
    return np.zeros(BUCKETS, np.uint32)


@dataclass(slots=True)
class PathLatency:
    """Requests of one path: counts, [B], of their times to the first token and to the end."""

    ttft_B: CountArray = field(default_factory=_no_counts)
    e2e_B: CountArray = field(default_factory=_no_counts)

    def add(self, other: "PathLatency") -> None:
        """Take in the counts of another."""
        self.ttft_B += other.ttft_B
        self.e2e_B += other.e2e_B

    def summary(self) -> dict[str, Any]:
        """Number and percentiles, as the page has them."""
        return {
            "requests": int(self.e2e_B.sum()),
            "ttft_s": quantiles(self.ttft_B),
            "e2e_s": quantiles(self.e2e_B),
        }


Paths = dict[str, PathLatency]


class LatencyHour:
    """The last 60 minutes of answered requests. Times are Unix seconds."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, Paths, dict[str, Any]]] = deque(maxlen=MINUTES)
        self._minute = 0
        self._open: Paths = {}

    def note(self, at: float, path: str, ttft_s: float, e2e_s: float) -> None:
        """Count a request that was answered at this time."""
        self._turn(at)
        paths = self._open
        if path not in paths and len(paths) >= MOST_PATHS:
            path = OTHER_PATHS
        latency = paths.get(path)
        if latency is None:
            latency = paths[path] = PathLatency()
        latency.ttft_B[bucket_of(ttft_s)] += 1
        latency.e2e_B[bucket_of(e2e_s)] += 1

    def summary(self, at: float) -> dict[str, Any]:
        """Percentiles of every minute that had an answer, and of the whole hour.

        Both are by path; `hour_by_tier` is by the tier that answered, the last of a path.
        """
        self._turn(at)
        first = int(at // 60) - MINUTES + 1
        minutes = [minute for minute in self._minutes if minute[0] >= first]
        hour = merged([*(paths for _, paths, _ in minutes), self._open])
        by_tier: Paths = {}
        for path, latency in hour.items():
            by_tier.setdefault(path.rpartition(">")[2], PathLatency()).add(latency)
        return {
            "quantiles": list(QUANTILES),
            "minutes": [
                *({"at": 60 * minute, "paths": summaries} for minute, _, summaries in minutes),
                *self._open_minute(),
            ],
            "hour": _summaries(hour),
            "hour_by_tier": _summaries(by_tier),
        }

    def _open_minute(self) -> Iterator[dict[str, Any]]:
        if self._open:
            yield {"at": 60 * self._minute, "paths": _summaries(self._open)}

    def _turn(self, at: float) -> None:
        """Close the minute that is over."""
        minute = int(at // 60)
        if minute == self._minute:
            return
        if self._open:
            self._minutes.append((self._minute, self._open, _summaries(self._open)))
        self._minute, self._open = minute, {}


def merged(parts: Iterable[Paths]) -> Paths:
    """The counts of several spans, path by path."""
    whole: Paths = {}
    for part in parts:
        for path, latency in part.items():
            whole.setdefault(path, PathLatency()).add(latency)
    return whole


def _summaries(paths: Paths) -> dict[str, Any]:
    return {path: latency.summary() for path, latency in sorted(paths.items())}
