"""Random problems with explicit tables, and what enumeration says of them."""

import itertools
import math
import random
from typing import Any

import msgspec
from hypothesis import strategies as st

from cascadia_sglang.planner.problem.problem import Candidate, Problem, ProblemTier


def problem_of(**data: Any) -> Problem:
    """A problem from what its file would hold."""
    return msgspec.convert(data, Problem, str_keys=True)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to 4 tiers, 10 GPUs and 4 candidates; tables with holes, feasible or not."""
    tiers, budget = draw(st.integers(1, 4)), draw(st.integers(1, 10))
    # Drawing every number by itself would take most of a test's time.
    rng = random.Random(draw(st.integers(0, 2**32)))
    # Few distinct values make ties; the wide range makes latencies of any size.
    pick_s = draw(
        st.sampled_from(
            [lambda: rng.choice([0.5, 1.0, 2.0]), lambda: 10 ** rng.uniform(-4, 3), rng.random]
        )
    )

    def table() -> dict[int, float]:
        return {f: pick_s() for f in rng.sample(range(1, 11), rng.randint(1, 8))}

    candidates = [
        Candidate(
            thresholds=[rng.random() for _ in range(tiers - 1)],
            quality=rng.choice([0.7, 0.8, 0.9]),
            shares=[rng.random() for _ in range(tiers)],
            latency_s=[table() for _ in range(tiers)],
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    return Problem(
        gpu_budget=budget,
        quality_floor=draw(st.sampled_from([None, 0.75, 0.85])),
        objective=draw(st.sampled_from(["bottleneck", "path"])),
        tiers=[ProblemTier(name=f"t{index}") for index in range(tiers)],
        candidates=candidates,
    )


def best_by_enumeration(problem: Problem) -> float | None:
    """Least objective over all candidates and allocations, by trying every one."""
    best = math.inf
    for candidate in problem.candidates:
        if problem.quality_floor is not None and candidate.quality < problem.quality_floor:
            continue
        for counts in itertools.product(*candidate.latency_s):
            if sum(counts) > problem.gpu_budget:
                continue
            latencies_s = [table[f] for table, f in zip(candidate.latency_s, counts, strict=True)]
            if problem.objective == "path":
                latencies_s = [s * x for s, x in zip(candidate.shares, latencies_s, strict=True)]
            best = min(
                best, max(latencies_s) if problem.objective == "bottleneck" else sum(latencies_s)
            )
    return None if math.isinf(best) else best
