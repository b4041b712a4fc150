"""How much something grows per 1,000 requests, with an interval."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

from bench.harness.estimates import Estimate

# Requests of one window, whose median stands for it.
WINDOW = 500
# The first windows of a process: its caches fill.
WARM_UP = 2
PER = 1000


def increments(samples: Sequence[tuple[int, float]], window: int = WINDOW) -> list[float]:
    """Growth per 1,000 requests between one window of a process's life and the next.

    Args:
        samples: requests answered so far and the value then, in time order.
        window: requests of one.

    Returns:
        As many as there are windows after the warm-up, less one; empty for a short life.
    """
    if not samples:
        return []
    first = samples[0][0]
    windows: dict[int, list[tuple[int, float]]] = {}
    for count, value in samples:
        windows.setdefault((count - first) // window, []).append((count, value))
    points = [
        (statistics.median(count for count, _ in part), statistics.median(v for _, v in part))
        for number, part in sorted(windows.items())
        if number >= WARM_UP
    ]
    pairs = itertools.pairwise(points)
    return [PER * (after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs]


def slope(values: Sequence[float]) -> Estimate | None:
    """Mean growth with a 95 percent t-interval; None for fewer than two increments.

    Neighbouring increments share a window, whose noise they have with opposite signs: so the
    interval is too wide rather than too narrow where the value only fluctuates.
    """
    from scipy.stats import t as student_t

    count = len(values)
    if count < 2:
        return None
    center = statistics.fmean(values)
    half = float(student_t.ppf(0.975, count - 1)) * statistics.stdev(values) / count**0.5
    return Estimate(p50=center, low95=center - half, high95=center + half, n=count)
