"""Points on the grid of thresholds, and the objectives of the searches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cascadia_sglang.errors import PlanError
from cascadia_sglang.planner.latency.curves import BestDeployment, Deploy
from cascadia_sglang.planner.thresholds.replay import Position, Replay

# What a method minimises: of latency in seconds and quality. It must not fall where latency grows,
# nor rise where quality grows; that is what bounds over boxes rest on.
Value = Callable[[float, float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """A position, its latency with the best deployment (inf where none fits) and its quality."""

    position: Position
    latency_s: float
    quality: float


class GridPoints:
    """Points of a grid, each worked out once."""

    def __init__(self, replay: Replay, deploy: Deploy) -> None:
        self.replay = replay
        self._deploy = deploy
        self._points: dict[Position, GridPoint] = {}
        self._deployed: dict[tuple[float, ...], BestDeployment | None] = {}

    @property
    def deployments(self) -> int:
        """How many deployments were solved so far."""
        return len(self._deployed)

    def at(self, position: Position) -> GridPoint:
        """The point of a position."""
        if position not in self._points:
            self._points[position] = GridPoint(
                position=position,
                latency_s=self.latency_s(position),
                quality=self.replay.quality(position),
            )
        return self._points[position]

    def latency_s(self, position: Position) -> float:
        """Least latency that a deployment gives the position; inf where none fits."""
        shares = tuple(self.replay.shares(position))
        if shares not in self._deployed:
            self._deployed[shares] = self._deploy(shares)
        deployed = self._deployed[shares]
        return math.inf if deployed is None else deployed.latency_s

    def quality_range(self) -> tuple[float, float]:
        """Nadir and utopia: quality where all stop at the first tier, where all reach the last.

        Raises:
            PlanError: if the last tier is no better than the first.
        """
        low, _ = self.replay.ends
        nadir, utopia = self.replay.quality(low), self.replay.last_tier_quality()
        if not utopia > nadir:
            raise PlanError(
                f"the last tier's quality {utopia:.4f} is not above the first tier's {nadir:.4f}: "
                "a cascade does not pay; routing.method exact can still be asked"
            )
        return nadir, utopia


def at_the_floor(floor: float) -> Value:
    """Latency alone, of what reaches the floor."""
    return lambda latency_s, quality: latency_s if quality >= floor else math.inf


def penalised(points: GridPoints, reference_s: float, floor: float, weight: float) -> Value:
    """L / L_ref + mu * max(0, (q_min - Q) / (z1 - z2)); the paper, version 2, routing level.

    L_ref makes the sum one of plain numbers: latency in units of that of the first thresholds.
    """
    nadir, utopia = points.quality_range()
    return lambda latency_s, quality: (
        latency_s / reference_s + weight * max(0.0, (floor - quality) / (utopia - nadir))
    )
