"""Traffic that changes: phases of questions of some families, each at a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cascadia_sglang.planner.workload.workload import poisson_arrivals_s
from demo.tasks.families import Row
from demo.tasks.splits import sample

# What the small tier can, and what it often cannot; all with short answers.
EASY = ("sort", "get", "rev")
HARD = ("add", "mul", "count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Questions of these families for some time."""

    families: tuple[str, ...]
    rate_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Questions and the times they are asked at."""

    questions: list[Row]
    at_s: list[float]


def trace(phases: Sequence[Phase], seed: int) -> Trace:
    """The phases one after the other, each a Poisson process; at most ten of them."""
    questions: list[Row] = []
    at_s: list[float] = []
    begins_s = 0.0
    for index, phase in enumerate(phases):
        count = max(2, round(phase.rate_per_s * phase.seconds))
        phase_seed = 10 * seed + index
        questions += sample("test", phase_seed, count, phase.families)
        times = poisson_arrivals_s(phase.rate_per_s, count, phase_seed)
        # Scaled to the phase, so that the next one begins when this one is over.
        at_s += (begins_s + times * phase.seconds / times[-1] * (1 - 1 / count)).tolist()
        begins_s += phase.seconds
    return Trace(questions=questions, at_s=at_s)
