"""What a run may come to at worst: one that is certain to exceed it is stopped.

Shape legend: R requests, T tiers.
"""

import math
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.state import SimulatorState

# A share by which rounding may be off: it must not stop a run that is as good as the limit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimit:
    """What a run may come to at worst.

    Attributes:
        mean_s: mean latency of a request.
        least_s_R: latency that no run can undercut, by request; the better it is known, the sooner
            a run is stopped. None: 0.
        late_s: latency above which a request is late.
        attainment: share of requests that are not late.
        slowest_p95_s: p95 of the attempts of any tier.
    """

    mean_s: float = math.inf
    least_s_R: FloatArray | None = None
    late_s: float = math.inf
    attainment: float = 0.0
    slowest_p95_s: float = math.inf


def set_limit(state: SimulatorState, limit: RunLimit, paths: Paths) -> None:
    """Write a limit into the state of a run that has not begun."""
    requests = len(state.requests_R)
    least_s_R = np.zeros(requests) if limit.least_s_R is None else limit.least_s_R
    state.requests_R["least_s"] = least_s_R * (1.0 - _ROUNDING)
    most_s = limit.mean_s * requests * (1.0 + _ROUNDING)
    state.counts_1["excess_left_s"] = most_s - float(state.requests_R["least_s"].sum())
    state.counts_1["late_s"] = limit.late_s
    # Those that no run answers in time are counted at once.
    are_late = int((state.requests_R["least_s"] > limit.late_s).sum())
    state.counts_1["late_left"] = (1.0 - limit.attainment + _ROUNDING) * requests - are_late
    state.tiers_T["late_s"] = limit.slowest_p95_s * (1.0 + _ROUNDING)
    for tier in range(len(state.tiers_T)):
        visits = (paths.first_tier_R <= tier) & (tier <= paths.last_tier_R)
        attempts = int(visits.sum())
        # The quantile is above a value if all from its lower neighbour on are.
        state.tiers_T["late_left"][tier] = attempts - 1 - int(0.95 * max(0, attempts - 1))
