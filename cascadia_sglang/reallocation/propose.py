"""A plan for the traffic of a window: every split of the replicas is simulated on it. Pure.

Thresholds and shapes stay as they are. The window's requests are replayed with their own arrival
times, lengths and ways through the tiers, again and again for as long as a gain is counted,
beginning with idle workers: a split that such traffic overloads shows by its growing queue.

Shape legend: R requests of the window, T tiers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.outcome import Outcome
from cascadia_sglang.planner.paths import Paths
from cascadia_sglang.planner.problem import Objective
from cascadia_sglang.planner.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.simulator import Tier, simulate
from cascadia_sglang.planner.workload import build_workload
from cascadia_sglang.reallocation.decide import Proposal
from cascadia_sglang.reallocation.target import Capacity

# Splits that are simulated at most.
MAX_SPLITS = 600
# Requests of a simulation at most, repeats included.
MOST_REPLAYED = 4_000
# A latency that stands for requests that never end.
NEVER_S = 1e6


class WindowTier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier, the pool that serves it, and how fast one of its workers is."""

    name: str
    pool: str
    times: StepTimes
    limits: EngineLimits
    device_share: float = 1.0


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is asked for.

    Attributes:
        pools: what runs now.
        arrival_s_R, input_tokens_R: of the window's requests, in order.
        tokens_RT: that each request wrote at every tier; 0 where it was not.
        horizon_s: for how long these requests come again and again, at most.
    """

    tiers: list[WindowTier]
    pools: dict[str, Capacity]
    gpu_budget: int
    objective: Objective
    arrival_s_R: list[float]
    input_tokens_R: list[int]
    tokens_RT: list[list[int]]
    horizon_s: float


def propose(request: PlanRequest) -> Proposal:
    """The best split of the budget, by the objective; `solve_s` is for the caller to fill in.

    Raises:
        WorkloadError: if the window says too little.
        InfeasiblePlanError: if there are too many splits to look at, or none.
    """
    simulated = _Window(request)
    names = list(request.pools)
    current = tuple(request.pools[name].replicas for name in names)
    values = {split: simulated.value(names, split) for split in _splits(request)}
    if not values:
        raise InfeasiblePlanError(f"{request.gpu_budget} devices leave no split of the replicas")
    # Of several that are as good, the one that moves least.
    best = min(values, key=lambda split: (values[split], _distance(split, current)))
    return Proposal(
        pools={
            name: msgspec.structs.replace(request.pools[name], replicas=count)
            for name, count in zip(names, best, strict=True)
        },
        current_s=simulated.mean_s(names, current),
        predicted_s=simulated.mean_s(names, best),
        solve_s=0.0,
    )


class _Window:
    """The window's requests, ready to be simulated on any split."""

    def __init__(self, request: PlanRequest) -> None:
        self._request = request
        times = _repeats(request.arrival_s_R, request.horizon_s)
        arrival_s_R = np.concatenate(times)
        own_RT = np.array(request.tokens_RT, np.int64).reshape(-1, len(request.tiers))
        tokens_RT = np.tile(own_RT, (len(times), 1))
        visited_RT = tokens_RT > 0
        order_T = np.arange(len(request.tiers))
        self._paths = Paths(
            first_tier_R=visited_RT.argmax(axis=1).astype(np.int64),
            last_tier_R=np.where(visited_RT, order_T, 0).max(axis=1),
            tokens_RT=np.maximum(tokens_RT, 1),
            limit_tokens_R=tokens_RT.max(axis=1).clip(1),
        )
        self._workload = build_workload(
            arrival_s_R.tolist(),
            request.input_tokens_R * len(times),
            tokens_RT.max(axis=1).clip(1),
        )
        self._known: dict[tuple[int, ...], Outcome] = {}

    def value(self, names: Sequence[str], split: tuple[int, ...]) -> float:
        """What the objective is to make small."""
        if self._request.objective == "path":
            return self.mean_s(names, split)
        outcome = self._outcome(names, split)
        if not outcome.is_done.all():
            return NEVER_S
        # An unvisited tier has no latency.
        visited = [column[np.isfinite(column)] for column in outcome.attempt_e2e_s_RT.T]
        return max(float(np.quantile(one, 0.95)) for one in visited if len(one))

    def mean_s(self, names: Sequence[str], split: tuple[int, ...]) -> float:
        """Mean latency of a request."""
        outcome = self._outcome(names, split)
        mean_s = outcome.mean_s()
        return mean_s if outcome.is_done.all() and math.isfinite(mean_s) else NEVER_S

    def _outcome(self, names: Sequence[str], split: tuple[int, ...]) -> Outcome:
        if split not in self._known:
            counts = dict(zip(names, split, strict=True))
            tiers = [
                Tier(
                    name=tier.name,
                    times=tier.times,
                    limits=tier.limits,
                    replicas=max(1, counts[tier.pool]),
                    share=tier.device_share,
                )
                for tier in self._request.tiers
            ]
            self._known[split] = simulate(self._workload, self._paths, tiers, is_buffered=True)
        return self._known[split]


def _repeats(arrival_s_R: Sequence[float], horizon_s: float) -> list[npt.NDArray[np.float64]]:
    """The times of the window's requests, and of each further round of them."""
    times_R = np.asarray(arrival_s_R, np.float64)
    # As long after its last request as its requests are apart, a window begins anew.
    period_s = float(times_R[-1]) * len(times_R) / max(1, len(times_R) - 1)
    rounds = math.ceil(horizon_s / period_s) if period_s > 0.0 else 1
    rounds = max(1, min(rounds, MOST_REPLAYED // len(times_R)))
    return [times_R + number * period_s for number in range(rounds)]


def _splits(request: PlanRequest) -> Iterator[tuple[int, ...]]:
    """Replicas of every pool, at least one each, such that no further one fits the budget."""
    sizes = [one.tp_size * one.pp_size for one in request.pools.values()]
    left = request.gpu_budget - sum(sizes)
    if left < 0:
        return
    if math.prod(left // size + 1 for size in sizes[1:]) > 100 * MAX_SPLITS:
        raise InfeasiblePlanError(f"{request.gpu_budget} devices have too many splits to simulate")
    found = 0
    for more in itertools.product(*(range(left // size + 1) for size in sizes[1:])):
        rest = left - sum(count * size for count, size in zip(more, sizes[1:], strict=True))
        if rest < 0:
            continue
        first = rest // sizes[0]
        if rest - first * sizes[0] >= min(sizes):
            continue
        found += 1
        if found > MAX_SPLITS:
            raise InfeasiblePlanError(f"there are more than {MAX_SPLITS} splits to simulate")
        yield (1 + first, *(1 + count for count in more))


def _distance(split: tuple[int, ...], current: tuple[int, ...]) -> int:
    return sum(abs(a - b) for a, b in zip(split, current, strict=True))
