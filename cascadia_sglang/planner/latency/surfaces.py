"""How late one replica's answers are at any rate.

A shape (tp, pp) is simulated with one replica over a grid of rates: replicas of a shape share a
tier's requests evenly, so n of them at rate r are one at r / n. All rates see the same requests in
the same order with the same gaps, only closer together (common random numbers), and what noise is
left is taken out by isotonic regression: a higher rate is never faster.

Shape legend: G rates of the grid, n rates asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.workload.workload import Workload

Statistic = Literal["p95", "mean"]

# Rates of a surface, as shares of what a replica can carry at most.
GRID = (0.05, 0.15, 0.3, 0.45, 0.6, 0.7, 0.78, 0.85, 0.91, 0.96)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelShape:
    """How one replica of a tier lies on devices, and how fast it is there.

    Attributes:
        gpu: type of the devices.
        is_measured: whether the step times are of a profile and not a roofline's.
        parts: of a block, by tier: times and limits of each; its own are the first tier's.
    """

    tp: int
    pp: int
    times: StepTimes
    limits: EngineLimits
    gpu: str = ""
    is_measured: bool = False
    parts: Mapping[str, "ParallelShape"] = field(default_factory=dict)

    def of_tier(self, name: str) -> "ParallelShape":
        """The same for one tier of a block."""
        return self.parts.get(name, self)

    @property
    def gpus(self) -> int:
        """Devices of a replica."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """End-to-end latency of a tier's attempts on one replica of a shape, by the replica's rate.

    Attributes:
        saturation_per_s: requests per second it answers while more wait; at this rate and above,
            queues grow without end.
        p95_s_G, mean_s_G: never falling.
    """

    shape: ParallelShape
    saturation_per_s: float
    rates_per_s_G: FloatArray
    p95_s_G: FloatArray
    mean_s_G: FloatArray

    def latency_s(self, rate_per_s: npt.ArrayLike, statistic: Statistic = "p95") -> FloatArray:
        """Seconds [n] at rates [n], or one for one: linear between the grid's, level below;
        infinite from saturation on.

        Between the last rate of the grid and saturation it grows as a queue's wait does, with the
        reciprocal of what is left.

        Raises:
            WorkloadError: for a rate that is negative or not a number.
        """
        rates_n = np.asarray(rate_per_s, np.float64)
        if not (rates_n >= 0.0).all():
            raise WorkloadError(f"the rate is {rate_per_s!r} requests/s, allowed: from 0")
        seconds_G = self.p95_s_G if statistic == "p95" else self.mean_s_G
        last = float(self.rates_per_s_G[-1])
        left_n = self.saturation_per_s - rates_n
        with np.errstate(divide="ignore"):
            beyond_n = np.where(left_n > 0, (self.saturation_per_s - last) / left_n, np.inf)
        latency_s_n: FloatArray = np.interp(rates_n, self.rates_per_s_G, seconds_G)
        return np.where(rates_n > last, seconds_G[-1] * beyond_n, latency_s_n)


def build_surface(
    workload: Workload,
    paths: Paths,
    shape: ParallelShape,
    *,
    kept_share: float | None = None,
    grid: Sequence[float] = GRID,
) -> Surface:
    """Simulate one replica of a shape over a grid of rates.

    Args:
        workload: the requests that reach the tier; only the spacing of its arrivals matters, the
            grid sets the rate.
        paths: of one tier, as `direct_paths` gives them.
        kept_share: of the drafts that the paths bring, what the tier keeps; None where it writes
            anew.
        grid: rising shares of saturation, above 0 and below 1.

    Raises:
        WorkloadError: if a request does not fit a replica, or the grid is not as above.
    """
    shares = np.array(grid, float)
    if not (len(shares) and (np.diff(shares) > 0).all() and shares[0] > 0 and shares[-1] < 1):
        raise WorkloadError("a grid needs rising shares above 0 and below 1, at least one")
    tier = SimulatedTier(
        name=f"{shape.tp}x{shape.pp}",
        times=shape.times,
        limits=shape.limits,
        stages=shape.pp,
        kept_share=kept_share,
    )
    at_once = replace(workload, arrival_s_R=np.zeros(len(workload)))
    full = _all_answered(simulate(at_once, paths, [tier]), tier)
    saturation = _answer_rate(full, shape.limits)
    outcomes = [
        _all_answered(simulate(workload.at_rate(float(share) * saturation), paths, [tier]), tier)
        for share in shares
    ]
    return Surface(
        shape=shape,
        saturation_per_s=saturation,
        rates_per_s_G=shares * saturation,
        p95_s_G=isotonic([outcome.quantile_s(0.95) for outcome in outcomes]),
        mean_s_G=isotonic([outcome.mean_s() for outcome in outcomes]),
    )


def isotonic(values: Sequence[float]) -> FloatArray:
    """The never-falling sequence nearest to these values in squares (pool adjacent violators)."""
    levels: list[float] = []
    sizes: list[int] = []
    for value in values:
        levels.append(float(value))
        sizes.append(1)
        while len(levels) > 1 and levels[-2] > levels[-1]:
            size = sizes[-2] + sizes[-1]
            levels[-2:] = [(levels[-2] * sizes[-2] + levels[-1] * sizes[-1]) / size]
            sizes[-2:] = [size]
    return np.repeat(levels, sizes)


def _answer_rate(full: SimulationResult, limits: EngineLimits) -> float:
    """Answers per second while others wait.

    Of the middle half, where the batch neither fills nor empties; of all, a little lower, where
    they are too few to keep a batch full.
    """
    ends_R = np.sort(full.e2e_s_R)
    if len(ends_R) < 4 * limits.max_running_requests:
        return len(ends_R) / full.makespan_s
    first, last = len(ends_R) // 4, len(ends_R) * 3 // 4
    return (last - first) / float(ends_R[last] - ends_R[first])


def _all_answered(outcome: SimulationResult, tier: SimulatedTier) -> SimulationResult:
    failed = int((~outcome.is_done).sum())
    if failed:
        raise WorkloadError(
            f"{failed} of {len(outcome.status_R)} requests do not fit a replica of shape "
            f"{tier.name} with {tier.limits.kv_tokens} tokens of KV cache"
        )
    return outcome
