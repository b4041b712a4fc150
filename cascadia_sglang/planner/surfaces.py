"""How late one replica's answers are at any rate, and from it how late a tier's are with f GPUs.

A shape (tp, pp) is simulated with one replica over a grid of rates: replicas of a shape share a
tier's requests evenly, so n of them at rate r are one at r / n. All rates see the same requests in
the same order with the same gaps, only closer together (common random numbers), and what noise is
left is taken out by isotonic regression: a higher rate is never faster.

Shape legend: G rates of the grid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.outcome import Outcome
from cascadia_sglang.planner.paths import Paths
from cascadia_sglang.planner.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.simulator import Tier, simulate
from cascadia_sglang.planner.workload import Workload

Floats = npt.NDArray[np.float64]
Statistic = Literal["p95", "mean"]

# Rates of a surface, as shares of what a replica can carry at most.
GRID = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.78, 0.84, 0.89, 0.93, 0.97)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How one replica of a tier lies on devices, and how fast it is there."""

    tp: int
    pp: int
    times: StepTimes
    limits: EngineLimits

    @property
    def gpus(self) -> int:
        """Devices of a replica."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """End-to-end latency of a tier's attempts on one replica of a shape, by the replica's rate.

    Attributes:
        saturation_per_s: requests per second it answers when all wait from the start; at this rate
            and above, queues grow without end.
        p95_s_G, mean_s_G: never falling.
    """

    shape: Shape
    saturation_per_s: float
    rates_per_s_G: Floats
    p95_s_G: Floats
    mean_s_G: Floats

    def latency_s(self, rate_per_s: float, statistic: Statistic = "p95") -> float:
        """Seconds at a rate: linear between the grid's, level below; infinite from saturation on.

        Between the last rate of the grid and saturation it grows as a queue's wait does, with the
        reciprocal of what is left.

        Raises:
            WorkloadError: for a rate that is negative or not a number.
        """
        if not rate_per_s >= 0.0:
            raise WorkloadError(f"the rate is {rate_per_s} requests/s, allowed: from 0")
        seconds_G = self.p95_s_G if statistic == "p95" else self.mean_s_G
        if rate_per_s >= self.saturation_per_s:
            return float("inf")
        last = float(self.rates_per_s_G[-1])
        if rate_per_s > last:
            left = (self.saturation_per_s - last) / (self.saturation_per_s - rate_per_s)
            return float(seconds_G[-1]) * left
        return float(np.interp(rate_per_s, self.rates_per_s_G, seconds_G))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best a tier can do with a number of GPUs: this many replicas of this shape."""

    latency_s: float
    shape: Shape
    replicas: int


def build_surface(
    workload: Workload, paths: Paths, shape: Shape, *, grid: Sequence[float] = GRID
) -> Surface:
    """Simulate one replica of a shape over a grid of rates.

    Args:
        workload: the requests that reach the tier; only the spacing of its arrivals matters, the
            grid sets the rate.
        paths: of one tier, as `direct_paths` gives them.
        grid: rising shares of saturation, above 0 and below 1.

    Raises:
        WorkloadError: if a request does not fit a replica, or the grid is not as above.
    """
    shares = np.array(grid, float)
    if not (len(shares) and (np.diff(shares) > 0).all() and shares[0] > 0 and shares[-1] < 1):
        raise WorkloadError("a grid needs rising shares above 0 and below 1, at least one")
    tier = Tier(
        name=f"{shape.tp}x{shape.pp}", times=shape.times, limits=shape.limits, stages=shape.pp
    )
    at_once = replace(workload, arrival_s_R=np.zeros(len(workload)))
    full = _all_answered(simulate(at_once, paths, [tier]), tier)
    saturation = len(workload) / full.makespan_s
    found = [
        _all_answered(simulate(workload.at_rate(float(share) * saturation), paths, [tier]), tier)
        for share in shares
    ]
    return Surface(
        shape=shape,
        saturation_per_s=saturation,
        rates_per_s_G=shares * saturation,
        p95_s_G=isotonic([outcome.quantile_s(0.95) for outcome in found]),
        mean_s_G=isotonic([outcome.mean_s() for outcome in found]),
    )


def latency_table(
    surfaces: Iterable[Surface],
    rate_per_s: float,
    gpu_budget: int,
    statistic: Statistic = "p95",
) -> dict[int, Choice]:
    """The best shape for every number of GPUs: `latency_s` of `problem.json`, with its reasons.

    Args:
        surfaces: of one tier, one a shape.
        rate_per_s: of the whole tier.

    Returns:
        By GPU count up to the budget. A count that holds no replica is left out, one that cannot
        carry the rate has an infinite latency; more GPUs are never slower, since not all need be
        used.
    """
    best: dict[int, Choice] = {}
    known = list(surfaces)
    for gpus in range(1, gpu_budget + 1):
        choices = [best[gpus - 1]] if gpus - 1 in best else []
        for surface in known:
            replicas = gpus // surface.shape.gpus
            if replicas > 0:
                latency_s = surface.latency_s(rate_per_s / replicas, statistic)
                choices.append(Choice(latency_s=latency_s, shape=surface.shape, replicas=replicas))
        if choices:
            best[gpus] = min(choices, key=lambda choice: choice.latency_s)
    return best


def latency_by_share(
    surfaces: Iterable[Surface],
    rate_per_s: float,
    gpu_budget: int,
    statistic: Statistic = "p95",
    *,
    points: int = 32,
) -> dict[int, list[tuple[float, float]]]:
    """A tier's latency by the share of all requests that reaches it: `latency_by_share_s`.

    Args:
        rate_per_s: of the whole cascade.
        points: shares at even distances up to 1; those that saturate a count of GPUs end its list.

    Returns:
        By GPU count, pairs of a share and seconds, both rising; a count that carries none of the
        shares is left out.
    """
    known = list(surfaces)
    curves: dict[int, list[tuple[float, float]]] = {}
    for share in (index / points for index in range(1, points + 1)):
        for gpus, choice in latency_table(known, share * rate_per_s, gpu_budget, statistic).items():
            if choice.latency_s < float("inf"):
                curves.setdefault(gpus, []).append((share, choice.latency_s))
    return curves


def isotonic(values: Sequence[float]) -> Floats:
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


def _all_answered(outcome: Outcome, tier: Tier) -> Outcome:
    failed = int((~outcome.is_done).sum())
    if failed:
        raise WorkloadError(
            f"{failed} of {len(outcome.status_R)} requests do not fit a replica of shape "
            f"{tier.name} with {tier.limits.kv_tokens} tokens of KV cache"
        )
    return outcome
