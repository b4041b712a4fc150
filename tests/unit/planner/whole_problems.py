"""Problems with a workload: small models on a few GPUs, and surfaces that need no simulation."""

from typing import Any

import numpy as np

from bench.planner.fleet import LLAMA_8B, LLAMA_70B
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.surfaces import ParallelShape, Surface
from tests.unit.planner.problems import problem_of
from tests.unit.planner.samples import rows

TIMES = StepTimes(decode_ms=[(1, 10.0), (32, 30.0)], prefill_ms=[(1, 10.0), (1000, 100.0)])
LIMITS = EngineLimits(kv_tokens=20_000, max_running_requests=32)


def workload_data(**changes: Any) -> dict[str, Any]:
    """What a problem file with a workload holds."""
    data = {
        "gpu_budget": 8,
        "quality_floor": 0.7,
        "gpu": {"name": "H100"},
        "tiers": [{"name": "small", "model": LLAMA_8B}, {"name": "large", "model": LLAMA_70B}],
        "workload": {
            "rate_per_s": 6.0,
            "input_tokens": 400,
            "output_tokens": 60,
            "requests": 150,
        },
        "slo": {"e2e_ms": 3000.0},
        "calibration": [{"scores": row.scores, "correct": row.correct} for row in rows(200, 0, 2)],
    }
    return {**data, **changes}


def workload_problem(**changes: Any) -> Problem:
    """The problem of such a file, its cluster made explicit."""
    cluster = [{"gpu": "H100", "nodes": 1, "gpus_per_node": 8}]
    return problem_of(**workload_data(**{"cluster": cluster, "gpu": None, **changes}))


def flat_surface(shape: ParallelShape, saturation: float, seconds: float) -> Surface:
    """Latency rises from `seconds` to three times as much; the mean is half the p95."""
    return Surface(
        shape=shape,
        saturation_per_s=saturation,
        rates_per_s_G=np.array([0.1, 0.9]) * saturation,
        p95_s_G=np.array([1.0, 3.0]) * seconds,
        mean_s_G=np.array([0.5, 1.5]) * seconds,
    )


def made_shape(tp: int, gpu: str = "H100", pp: int = 1) -> ParallelShape:
    """A shape whose step times nobody asks for."""
    return ParallelShape(tp=tp, pp=pp, times=TIMES, limits=LIMITS, gpu=gpu)
