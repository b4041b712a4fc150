"""What the systems of `bench.rivals` are asked, and when."""

from __future__ import annotations

import numpy as np

from bench.prefix.chats import PAIRS, TURNS, chats
from bench.reallocation.phases import EASY, HARD
from bench.rivals import azure
from cascadia_sglang.planner.workload.workload import poisson_arrivals_s
from demo.tasks.families import TEST_FAMILIES, Row
from demo.tasks.splits import sample

MIXED = "mixed"
FAMILIES = {MIXED: TEST_FAMILIES, "easy": EASY, "hard": HARD}
CHATS = "chats"  # eight turns over a system message of 620 to 860 tokens
MIXES = (*FAMILIES, CHATS)
POISSON, BURSTS = "Poisson arrivals", "bursts"
AZURE = {f"like Azure's {trace}": trace for trace in azure.TRACES}
# Deviation of the gaps between arrivals over their mean, in bursts. Those of Azure's conversation
# trace of 2023 have 1.08, nearly a Poisson process's 1, and those of its code trace 13.6.
DEVIATION = 3.0


def questions(mix: str, seed: int, count: int) -> list[Row]:
    """Some of one of `MIXES`; first turns come before second ones, and so on."""
    if mix != CHATS:
        return sample("test", seed, count, FAMILIES[mix])
    talks = chats(seed, -(-count // TURNS))
    turns = [
        Row(family="get", size=PAIRS, prompt=talk.prompt(turn), answer=talk.answers[turn])
        for turn in range(TURNS)
        for talk in talks
    ]
    return turns[:count]


def arrivals_s(rate_per_s: float, count: int, seed: int, deviation: float) -> list[float]:
    """Times with gamma-distributed gaps, scaled to the rate, as a few bursts say little of it.

    Args:
        deviation: of the gaps, over their mean.
    """
    gaps_s = np.random.default_rng(seed).gamma(1 / deviation**2, size=count)
    times_s = np.cumsum(gaps_s)
    return (times_s / times_s[-1] * count / rate_per_s).tolist()


def load(
    arrivals: str, rate_per_s: float, count: int, seed: int, number: int
) -> tuple[list[Row], list[float]]:
    """What is asked in a round of an open loop, and when.

    Args:
        arrivals: `POISSON` or `BURSTS`, of mixed questions, or one of `AZURE`.
        number: of the round.
    """
    if arrivals in AZURE:
        return azure.like(AZURE[arrivals], number, count, rate_per_s, seed)
    if arrivals == BURSTS:
        at_s = arrivals_s(rate_per_s, count, seed, DEVIATION)
    else:
        at_s = poisson_arrivals_s(rate_per_s, count, seed).tolist()
    return questions(MIXED, seed, count), at_s
