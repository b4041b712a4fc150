"""What a simulated run is worth under an objective: of `cascadia plan`, and of the controller."""

from __future__ import annotations

import math

import numpy as np

from cascadia_sglang.planner.problem.problem import LatencyObjective
from cascadia_sglang.planner.simulation.result import SimulationResult


def run_value_s(outcome: SimulationResult, objective: LatencyObjective) -> float:
    """Seconds that the objective minimises; infinite where a request is not answered.

    `path`: the mean end to end. `bottleneck`: the p95 of the slowest tier's attempts.
    """
    if not outcome.is_done.all():
        return math.inf
    if objective == "path":
        return outcome.mean_s()
    return max(slowest_s(outcome), default=math.inf)


def slowest_s(outcome: SimulationResult) -> list[float]:
    """p95 of the attempts of every tier that has any, in seconds."""
    return [
        float(np.quantile(visited, 0.95))
        for seconds_R in outcome.attempt_e2e_s_RT.T
        if len(visited := seconds_R[np.isfinite(seconds_R)])
    ]
