"""Routing by the augmented weighted Chebyshev norm: a front of latency against quality.

Minimised for a row of weights lambda:

    max(lambda * l, (1 - lambda) * q) + rho * (l + q)
    l = (L - L*) / (L_nadir - L*)        q = (z1 - Q) / (z1 - z2)

L* and L_nadir are the latencies where everything stops at the first tier and where everything
reaches the last; z1 and z2 are the qualities there. The small sum keeps out points that another
one beats in both (Steuer and Choo, 1983). Unlike a weighted sum it reaches points in dents of the
front.
"""

from __future__ import annotations

from collections.abc import Sequence

from cascadia_sglang.errors import PlanError
from cascadia_sglang.planner.thresholds.exact import minimise
from cascadia_sglang.planner.thresholds.grid import GridPoint, GridPoints, Value

WEIGHTS = tuple(step / 20 for step in range(21))
SUM_WEIGHT = 1e-3


def front(points: GridPoints, weights: Sequence[float] = WEIGHTS) -> list[GridPoint]:
    """The points that some weight picks, fastest first.

    Raises:
        PlanError: if the last tier is no better than the first, or the first thresholds of the
            grid have no deployment.
    """
    by_position = {}
    for weight in weights:
        point = minimise(points, chebyshev(points, weight)).point
        if point is not None:
            by_position[point.position] = point
    return sorted(
        by_position.values(), key=lambda point: (point.latency_s, -point.quality, point.position)
    )


def chebyshev(points: GridPoints, weight: float) -> Value:
    """The norm above for one lambda."""
    nadir, utopia = points.quality_range()
    low, high = points.replay.ends
    least_s, most_s = points.latency_s(low), points.latency_s(high)
    if least_s == float("inf"):
        raise PlanError("no deployment serves the requests even where all stop at the first tier")
    # Where the last position has no deployment, latency counts in units of the least.
    span_s = most_s - least_s if least_s < most_s < float("inf") else max(least_s, 1e-9)

    def value(latency_s: float, quality: float) -> float:
        slow, wrong = (latency_s - least_s) / span_s, (utopia - quality) / (utopia - nadir)
        # Weight 0 times an endless latency would be no number.
        weighted = weight * slow if weight else 0.0
        return max(weighted, (1 - weight) * wrong) + SUM_WEIGHT * (slow + wrong)

    return value
