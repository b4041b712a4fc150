"""The paper's routing level: coordinate search of a penalised latency (arXiv 2506.04203, v2).

How the paper moves thresholds is not told; a search along one tier's thresholds at a time needs no
derivative. The deployment is solved anew for every point.
"""

from __future__ import annotations

from dataclasses import dataclass

from cascadia_sglang.planner.thresholds.grid import GridPoint, GridPoints, Value
from cascadia_sglang.planner.thresholds.replay import Position, Replay

# Score quantiles a tier, and rounds without a gain after which the search ends.
GRID_POINTS = 21
PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Where a search ended.

    Attributes:
        value: of the point, in what was minimised.
        rounds: searches along one tier's thresholds.
    """

    point: GridPoint
    value: float
    rounds: int


def first_position(replay: Replay) -> Position:
    """Where the paper starts: tier i, from 1, is reached by about 1 / i of the requests."""
    position: list[int] = []
    for tier, grid in enumerate(replay.grids):
        rest = [0] * (len(replay.grids) - tier - 1)
        misses = [
            abs(replay.shares((*position, index, *rest))[tier + 1] - 1 / (tier + 2))
            for index in range(len(grid))
        ]
        position.append(misses.index(min(misses)))
    return tuple(position)


def coordinate_search(points: GridPoints, value: Value, start: Position) -> SearchResult:
    """Move one tier's threshold at a time to where the value is least.

    Ends after `PATIENCE` rounds without a gain, and not before every tier had its turn.
    """
    best = points.at(start)
    best_value = value(best.latency_s, best.quality)
    grids = points.replay.grids
    patience = max(PATIENCE, len(grids)) if grids else 0
    rounds = idle = 0
    while idle < patience:
        axis = rounds % len(grids)
        rounds += 1
        idle += 1
        for index in range(len(grids[axis])):
            point = points.at((*best.position[:axis], index, *best.position[axis + 1 :]))
            point_value = value(point.latency_s, point.quality)
            if point_value < best_value:
                best, best_value, idle = point, point_value, 0
    return SearchResult(point=best, value=best_value, rounds=rounds)
