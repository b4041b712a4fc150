"""What the systems of `bench.rivals` are asked, and when."""

from __future__ import annotations

import numpy as np

from bench.ladder.families import TEST_FAMILIES, Row
from bench.ladder.splits import sample
from bench.prefix.chats import PAIRS, TURNS, chats
from bench.reallocation.phases import EASY, HARD
from cascadia_sglang.planner.workload import poisson_arrivals_s

FAMILIES = {"mixed": TEST_FAMILIES, "easy": EASY, "hard": HARD}
CHATS = "chats"  # eight turns over a system message of 620 to 860 tokens
MIXES = (*FAMILIES, CHATS)
# Deviation of the gaps between arrivals over their mean. Those of Azure's conversation trace of
# 2023 have 1.08, nearly a Poisson process's 1, and those of its code trace 13.6.
BURSTS = 3.0


def questions(mix: str, seed: int, count: int) -> list[Row]:
    """Some of one of `MIXES`; first turns come before second ones, and so on."""
    if mix != CHATS:
        return sample("test", seed, count, FAMILIES[mix])
    talks = chats(seed, -(-count // TURNS))
    turns = [
        Row(family="get", size=PAIRS, prompt=one.prompt(turn), answer=one.answers[turn])
        for turn in range(TURNS)
        for one in talks
    ]
    return turns[:count]


def arrivals_s(rate_per_s: float, count: int, seed: int, bursts: float = 1.0) -> list[float]:
    """When requests come: a Poisson process, or gamma-distributed gaps.

    Args:
        bursts: deviation of the gaps over their mean. Above 1 the times are scaled to the rate, as
            a few bursts say little of it.
    """
    if bursts == 1.0:
        return poisson_arrivals_s(rate_per_s, count, seed).tolist()
    gaps_s = np.random.default_rng(seed).gamma(1 / bursts**2, size=count)
    times_s = np.cumsum(gaps_s)
    return (times_s / times_s[-1] * count / rate_per_s).tolist()
