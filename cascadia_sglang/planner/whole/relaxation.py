"""What no plan within a budget reaches: no queue, and batches that slow nobody down.

Every tier gets, for every request, the shape that is fastest for it alone. The thresholds are
those at the quality floor with the best result. So no plan of these thresholds and shapes has a
lower mean, or meets the targets more often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.plan import RelaxedBound
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.least_times import LeastTimes


def relaxed_bound(
    problem: Problem,
    least: LeastTimes,
    shapes: Mapping[str, Sequence[ParallelShape]],
    points: Sequence[ThresholdPoint],
    late_s: float,
) -> RelaxedBound:
    """The least mean and the largest attainment of any plan of these points within the budget.

    Args:
        shapes: of each pool.
        points: of thresholds, those of every plan that counts, or some with lower shares.
        late_s: latency above which a request misses a target.
    """
    attempts_RT = _least_attempts(problem, least, shapes)
    means_s, attained = [], []
    for point in points:
        request_s_R = (attempts_RT * least.reached(point.shares)).sum(axis=1)
        means_s.append(float(request_s_R.mean()))
        attained.append(float((request_s_R <= late_s).mean()))
    return RelaxedBound(mean_e2e_ms=1e3 * min(means_s), slo_attainment=max(attained))


def _least_attempts(
    problem: Problem, least: LeastTimes, shapes: Mapping[str, Sequence[ParallelShape]]
) -> FloatArray:
    """Least seconds of every attempt on any shape that leaves the other pools theirs, [R, T]."""
    smallest = {
        pool: min(shape.gpus for shape in pool_shapes) for pool, pool_shapes in shapes.items()
    }
    columns = []
    for index, tier in enumerate(problem.tiers):
        pool = tier.pool_name
        available = problem.gpu_budget - sum(smallest.values()) + smallest[pool]
        affordable = [shape.of_tier(tier.name) for shape in shapes[pool] if shape.gpus <= available]
        candidates = affordable or [shape.of_tier(tier.name) for shape in shapes[pool]]
        columns.append(np.min([least.attempt_s(index, shape) for shape in candidates], axis=0))
    least_s_RT: FloatArray = np.stack(columns, axis=1)
    return least_s_RT
