"""Thresholds at the quality floor that no others beat: none sends fewer requests to every tier.

The best thresholds of any latency that never falls with load are among them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.planner.thresholds.replay import Position, Replay

# Points that are kept at most, and prefixes of positions that are checked.
MOST_POINTS = 64
MOST_PREFIXES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPoint:
    """Thresholds, and what follows from them on the sample.

    Attributes:
        shares: of requests that reach each tier.
        quality: share of right answers.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    quality: float


def frontier(replay: Replay, floor: float) -> list[ThresholdPoint]:
    """The points at the floor that no other point undercuts in every share, lowest first.

    Of more than `MOST_POINTS`, those stay that are the cheapest for some price of every tier.
    """
    by_shares: dict[tuple[float, ...], ThresholdPoint] = {}
    for position in _least_positions(replay, floor):
        point = ThresholdPoint(
            thresholds=tuple(replay.thresholds(position)),
            shares=tuple(replay.shares(position)),
            quality=replay.quality(position),
        )
        rival = by_shares.get(point.shares)
        if rival is None or point.quality > rival.quality:
            by_shares[point.shares] = point
    points = _undercut_by_none(list(by_shares.values()))
    return points if len(points) <= MOST_POINTS else _cheapest(points)


def _least_positions(replay: Replay, floor: float) -> Iterator[Position]:
    """Of each prefix of positions the least last position that reaches the floor."""
    if not replay.grids:
        if replay.quality(()) >= floor:
            yield ()
        return
    sizes = [len(grid) for grid in replay.grids[:-1]]
    steps = _steps(sizes)
    for prefix in itertools.product(
        *(range(0, size, step) for size, step in zip(sizes, steps, strict=True))
    ):
        reaching = np.flatnonzero(replay.last_qualities(prefix) >= floor)
        if len(reaching):
            yield (*prefix, int(reaching[0]))


def _steps(sizes: list[int]) -> list[int]:
    """Steps on each tier's grid with which no more than `MOST_PREFIXES` prefixes are left."""
    steps = [1] * len(sizes)
    while math.prod(-(-size // step) for size, step in zip(sizes, steps, strict=True)) > (
        MOST_PREFIXES
    ):
        steps = [step * 2 for step in steps]
    return steps


def _undercut_by_none(points: list[ThresholdPoint]) -> list[ThresholdPoint]:
    shares_NT = np.array([point.shares for point in points])
    undercut_free = []
    for index, point in enumerate(points):
        is_less_N = (shares_NT <= shares_NT[index]).all(axis=1)
        if not (is_less_N & (shares_NT < shares_NT[index]).any(axis=1)).any():
            undercut_free.append(point)
    return sorted(undercut_free, key=lambda point: point.shares)


def _cheapest(points: list[ThresholdPoint]) -> list[ThresholdPoint]:
    shares_NT = np.array([point.shares for point in points])
    # Later tiers are dearer by any factor: evenly in its logarithm, and by chance.
    rng = np.random.default_rng(0)
    price_PT = np.exp(rng.uniform(0.0, 4.0, (16 * MOST_POINTS, shares_NT.shape[1])).cumsum(axis=1))
    best_P = (price_PT @ shares_NT.T).argmin(axis=1)
    chosen = list(dict.fromkeys(best_P.tolist()))[:MOST_POINTS]
    return [points[index] for index in sorted(chosen)]
