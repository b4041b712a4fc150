"""Samples with correlated scores and answers, and latency curves that rise with load."""

from typing import Any

import numpy as np

from cascadia_sglang.planner.problem.problem import CalibrationRow, Problem
from tests.unit.planner.problems import problem_of


def rows(number: int, seed: int, tiers: int = 3) -> list[CalibrationRow]:
    """Prompts of one hardness for all tiers; larger tiers are better, scores are noisy."""
    rng = np.random.default_rng(seed)
    hard_N = rng.normal(size=number)
    skills = np.linspace(0.3, 2.5, tiers)
    correct = [(skill - hard_N + 0.7 * rng.normal(size=number)) > 0 for skill in skills]
    odds = [1.5 * (skill - hard_N) + rng.normal(size=number) for skill in skills[:-1]]
    return [
        CalibrationRow(
            scores=[float(1 / (1 + np.exp(-of_tier[row]))) for of_tier in odds],
            correct=[float(of_tier[row]) for of_tier in correct],
        )
        for row in range(number)
    ]


def curves(tiers: int, gpus: int) -> list[dict[str, list[list[float]]]]:
    """Latency of a queue whose capacity grows with the GPUs; larger tiers are slower."""
    tables = []
    for tier in range(tiers):
        table = {}
        for count in range(1, gpus + 1):
            capacity = 0.5 * count / (tier + 1)
            served = [share for share in np.linspace(0, 1, 11).tolist() if share < 0.95 * capacity]
            table[str(count)] = [
                [share, (tier + 1) * (0.5 + 0.5 / count) / (1 - share / capacity)]
                for share in served
            ]
        tables.append(table)
    return tables


def routing_problem(number: int = 400, seed: int = 0, tiers: int = 3, **changes: Any) -> Problem:
    """A problem whose thresholds are to be searched."""
    data = {
        "gpu_budget": 16,
        "quality_floor": 0.85,
        "tiers": [{"name": f"t{index}"} for index in range(tiers)],
        "calibration": [
            {"scores": row.scores, "correct": row.correct} for row in rows(number, seed, tiers)
        ],
        "latency_by_share_s": curves(tiers, 16),
    }
    return problem_of(**{**data, **changes})
