"""Branch and bound over a grid of thresholds.

A box of thresholds has its least latency at its lowest corner, because no higher threshold lowers
the share that reaches a tier and no higher share lowers a latency; and its quality is at most that
of every row answered by the best tier which can answer it in the box. Both envelopes are monotone,
so a method's value of them bounds the box.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from cascadia_sglang.planner.thresholds.grid import GridPoint, GridPoints, Value
from cascadia_sglang.planner.thresholds.replay import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The best point found and what is proved of the others.

    Attributes:
        point: None where every value is infinite.
        value: of that point.
        bound: no point of the grid has a smaller value.
        boxes: that were looked at.
    """

    point: GridPoint | None
    value: float
    bound: float
    boxes: int


def minimise(points: GridPoints, value: Value, *, max_boxes: int = 200_000) -> Proof:
    """The point of least value; of equals the first found, which is the same in every run.

    Args:
        max_boxes: where it stops with what it has; the bound then is below the value.
    """
    best: GridPoint | None = None
    best_value = math.inf
    low, high = points.replay.ends
    boxes = 1
    heap = [(_bound(points, value, low, high), low, high)]
    while heap:
        bound, low, high = heapq.heappop(heap)
        if bound >= best_value or math.isinf(bound):
            return Proof(point=best, value=best_value, bound=best_value, boxes=boxes)
        if boxes >= max_boxes:
            return Proof(point=best, value=best_value, bound=bound, boxes=boxes)
        corner = points.at(low)
        corner_value = value(corner.latency_s, corner.quality)
        if corner_value < best_value:
            best, best_value = corner, corner_value
        if corner_value <= bound:
            continue
        for part_low, part_high in _halves(low, high):
            boxes += 1
            part_bound = _bound(points, value, part_low, part_high)
            if part_bound < best_value:
                heapq.heappush(heap, (max(bound, part_bound), part_low, part_high))
    return Proof(point=best, value=best_value, bound=best_value, boxes=boxes)


def _bound(points: GridPoints, value: Value, low: Position, high: Position) -> float:
    # The quality's envelope first: where it alone rules the box out, no deployment is solved.
    quality = points.replay.best_quality(low, high)
    if math.isinf(value(0.0, quality)):
        return math.inf
    return value(points.latency_s(low), quality)


def _halves(low: Position, high: Position) -> list[tuple[Position, Position]]:
    """Split the longest side; a box of one position has none."""
    widths = [b - a for a, b in zip(low, high, strict=True)]
    longest = max(widths, default=0)
    if longest == 0:
        return []
    axis = widths.index(longest)
    middle = low[axis] + longest // 2
    upper = (*low[:axis], middle + 1, *low[axis + 1 :])
    return [(low, (*high[:axis], middle, *high[axis + 1 :])), (upper, high)]
