"""Problems to plan: tables and curves drawn from a seed, and samples of answers.

The latencies are synthetic, of a queue per tier: time without load times 1 / (1 - load), where the
load is the share of requests that reaches the tier over what its GPUs can serve. More GPUs help by
an exponent drawn for every tier. They are no measurement of any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.planner.problem import (
    CalibrationRow,
    Candidate,
    Objective,
    Problem,
    ProblemTier,
)

# Shares at which a curve has a pair.
_SHARES = np.linspace(0, 1, 21).tolist()
# A curve ends where this much of the capacity is taken.
_FULL = 0.95


def table_problem(tiers: int, gpus: int, objective: Objective, seed: int) -> Problem:
    """One candidate with a latency for every count of GPUs; noise makes tables fall unevenly."""
    rng = np.random.default_rng(seed)
    shares = np.cumprod([1.0, *rng.uniform(0.3, 0.9, tiers - 1)])
    tables = []
    for tier in range(tiers):
        counts = np.arange(1, gpus + 1)
        fixed_s, scaled_s, exponent = rng.uniform(0.05, 0.2), 3.0**tier, rng.uniform(0.5, 1.0)
        noise = rng.uniform(0.97, 1.03, gpus)
        values = (fixed_s + scaled_s * shares[tier] / counts**exponent) * noise
        tables.append(dict(zip(counts.tolist(), values.tolist(), strict=True)))
    candidate = Candidate(
        thresholds=[0.5] * (tiers - 1), quality=0.9, shares=shares.tolist(), latency_s=tables
    )
    return Problem(
        gpu_budget=gpus, objective=objective, tiers=_tiers(tiers), candidates=[candidate]
    )


def synthetic_sample(tiers: int, rows: int, seed: int) -> list[CalibrationRow]:
    """Answers to prompts of one hardness for all tiers; scores are noisy and correlated."""
    rng = np.random.default_rng(seed)
    hard_N = rng.normal(size=rows)
    skills = np.sort(rng.uniform(0.0, 2.5, tiers))
    right = [(skill - hard_N + 0.7 * rng.normal(size=rows)) > 0 for skill in skills]
    odds = [rng.uniform(1, 3) * (skill - hard_N) + rng.normal(size=rows) for skill in skills[:-1]]
    return [
        CalibrationRow(
            scores=[float(1 / (1 + np.exp(-tier_N[row]))) for tier_N in odds],
            correct=[float(tier_N[row]) for tier_N in right],
        )
        for row in range(rows)
    ]


def curve_problem(
    sample: Sequence[CalibrationRow], gpus: int, objective: Objective, seed: int
) -> Problem:
    """A sample with curves that a cluster of this size can serve, and no floor yet."""
    rng = np.random.default_rng(seed)
    tiers = len(sample[0].correct)
    # GPUs that a tier needs for all requests; together up to twice what there is.
    weights = 3.0 ** np.arange(tiers) * rng.uniform(0.5, 2, tiers)
    needed = gpus * rng.uniform(0.5, 2) * weights / weights.sum()
    curves: list[dict[int, list[tuple[float, float]]]] = []
    for tier in range(tiers):
        exponent, idle_s = rng.uniform(0.3, 0.9), 2.5**tier * rng.uniform(0.3, 1.5)
        table = {}
        for count in range(1, gpus + 1):
            capacity = count / needed[tier]
            served = [share for share in _SHARES if share <= _FULL * capacity]
            table[count] = [
                (share, float(idle_s / count**exponent / (1 - share / capacity)))
                for share in served
            ]
        curves.append(table)
    return Problem(
        gpu_budget=gpus,
        objective=objective,
        tiers=_tiers(tiers),
        calibration=list(sample),
        latency_by_share_s=curves,
    )


def _tiers(number: int) -> list[ProblemTier]:
    return [ProblemTier(name=f"tier-{index}") for index in range(number)]
