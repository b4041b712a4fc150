"""Simulates the backlog, then a window's requests, repeated for the time a gain counts. Pure.

Requests come at their own times. An overloaded split shows a growing queue; a good one drains the
backlog.

Shape legend: R requests, B of them under way at the begin, T tiers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.planner.objective import run_value_s
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.online.weighted_sample import WeightedSample
from cascadia_sglang.planner.problem.problem import LatencyObjective
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.workload.workload import Workload, build_workload

# Requests of a simulation, repeats included, and of all simulations of a plan together.
LEAST_REPLAYED, MOST_REPLAYED, MOST_SIMULATED = 200, 4_000, 600_000
# A latency that stands for requests that never end.
NEVER_S = 1e6

Split = tuple[int, ...]


class WindowSimulation:
    """Simulates a window's requests on any split under any thresholds; keeps every result.

    Args:
        weighted: prompts are drawn from it in place of the window's; None replays the window's own
            paths, whatever the thresholds.
        simulations: how many will be asked for. The more there are, the fewer times the window
            repeats; of a long window, only the newest requests count.
    """

    def __init__(
        self, request: PlanRequest, weighted: WeightedSample | None, simulations: int
    ) -> None:
        self._request = request
        self._weighted = weighted
        most = max(LEAST_REPLAYED, min(MOST_REPLAYED, MOST_SIMULATED // simulations))
        times = repeats(request.arrival_s_R[-most:], request.horizon_s, most)
        own_RT = np.array(request.tokens_RT, np.int64).reshape(-1, len(request.tiers))
        self._tokens_RT = np.tile(own_RT[-most:], (len(times), 1))
        inputs_R = np.tile(np.array(request.input_tokens_R[-most:], np.int64), len(times))
        if weighted is not None:
            self._drawn_R = weighted.drawn(len(inputs_R), seed=0)
            inputs_R = weighted.input_tokens_N[self._drawn_R]
            self._tokens_RT = weighted.tokens_NT[self._drawn_R]
        self._backlog_BT = np.array(request.backlog_tokens_BT, np.int64)
        self._backlog_BT = self._backlog_BT.reshape(-1, len(request.tiers))[:most]
        inputs_B = np.array(request.backlog_inputs_B, np.int64)[:most]
        outputs_R = np.concatenate((self._backlog_BT, self._tokens_RT)).max(axis=1).clip(1)
        self._workload: Workload = build_workload(
            np.concatenate((np.zeros(len(inputs_B)), *times)),
            np.concatenate((inputs_B, inputs_R)),
            outputs_R,
        )
        self._known: dict[tuple[Split, tuple[float, ...]], SimulationResult] = {}
        self._known_paths: dict[tuple[float, ...], Paths] = {}

    def __len__(self) -> int:
        """Requests of a simulation."""
        return len(self._workload)

    def value(self, names: Sequence[str], split: Split, thresholds: tuple[float, ...]) -> float:
        """The value of the objective, in seconds; smaller is better."""
        return self._value_s(names, split, thresholds, self._request.objective)

    def mean_s(self, names: Sequence[str], split: Split, thresholds: tuple[float, ...]) -> float:
        """Mean latency of a request."""
        return self._value_s(names, split, thresholds, "path")

    def _value_s(
        self,
        names: Sequence[str],
        split: Split,
        thresholds: tuple[float, ...],
        objective: LatencyObjective,
    ) -> float:
        return min(NEVER_S, run_value_s(self._outcome(names, split, thresholds), objective))

    def _paths(self, thresholds: tuple[float, ...]) -> Paths:
        if self._weighted is None:
            return _own_paths(np.concatenate((self._backlog_BT, self._tokens_RT)))
        drawn = self._weighted.paths(thresholds, self._drawn_R)
        backlog = _own_paths(self._backlog_BT)
        return Paths(
            first_tier_R=np.concatenate((backlog.first_tier_R, drawn.first_tier_R)),
            last_tier_R=np.concatenate((backlog.last_tier_R, drawn.last_tier_R)),
            tokens_RT=np.concatenate((backlog.tokens_RT, drawn.tokens_RT)),
            limit_tokens_R=np.concatenate((backlog.limit_tokens_R, drawn.limit_tokens_R)),
        )

    def _outcome(
        self, names: Sequence[str], split: Split, thresholds: tuple[float, ...]
    ) -> SimulationResult:
        if (split, thresholds) not in self._known:
            counts = dict(zip(names, split, strict=True))
            tiers = [
                SimulatedTier(
                    name=tier.name,
                    times=tier.times,
                    limits=tier.limits,
                    replicas=max(1, counts.get(tier.pool, 0)),
                    share=tier.device_share,
                    pool=tier.pool,
                    block=tier.block,
                    cached_share=cached,
                    kept_share=kept_share,
                    prompt_length=prompt_length,
                )
                for tier, prompt_length, cached, kept_share in zip(
                    self._request.tiers,
                    self._request.prompt_length_T,
                    self._request.cached_share_T,
                    self._request.kept_share_T,
                    strict=True,
                )
            ]
            if thresholds not in self._known_paths:
                self._known_paths[thresholds] = self._paths(thresholds)
            paths = self._known_paths[thresholds]
            self._known[split, thresholds] = simulate(
                self._workload, paths, tiers, is_buffered=True
            )
        return self._known[split, thresholds]


def _own_paths(tokens_RT: npt.NDArray[np.int64]) -> Paths:
    """Paths through the tiers where each request wrote something."""
    visited_RT = tokens_RT > 0
    order_T = np.arange(visited_RT.shape[1])
    return Paths(
        first_tier_R=visited_RT.argmax(axis=1).astype(np.int64),
        last_tier_R=np.where(visited_RT, order_T, 0).max(axis=1),
        tokens_RT=np.maximum(tokens_RT, 1),
        limit_tokens_R=tokens_RT.max(axis=1).clip(1),
    )


def repeats(arrival_s_R: Sequence[float], horizon_s: float, most: int) -> list[FloatArray]:
    """The times of the window's requests, and of each further round of them.

    Args:
        most: requests of all rounds, the first one apart.
    """
    times_R = np.asarray(arrival_s_R, np.float64) - arrival_s_R[0]
    # As long after its last request as its requests are apart, a window begins anew.
    period_s = float(times_R[-1]) * len(times_R) / max(1, len(times_R) - 1)
    rounds = math.ceil(horizon_s / period_s) if period_s > 0.0 else 1
    rounds = max(1, min(rounds, most // len(times_R)))
    return [times_R + number * period_s for number in range(rounds)]
