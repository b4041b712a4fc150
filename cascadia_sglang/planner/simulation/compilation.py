"""Compiles the simulator before a plan's clock begins.

It takes some 20 s, once for every version of the sources on a machine. A limit of 10 s would end
the first plan before it has looked at anything.
"""

from collections.abc import Callable

import numpy as np

from cascadia_sglang.planner.simulation.numba_cache import holds_compiled_code
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.workload.workload import build_workload


def compile_simulator(report: Callable[[str], None] | None = None) -> None:
    """Compile the simulator, or load what an earlier process compiled.

    Args:
        report: takes a line where it has to be compiled.
    """
    if report is not None and not holds_compiled_code():
        report("compiling the simulator, once on this machine; the time limit begins after it")
    workload = build_workload(np.arange(2.0), [1, 1], [1, 1])
    tier = SimulatedTier(
        name="compiled",
        times=StepTimes(decode_ms=[(1, 1.0)], prefill_ms=[(1, 1.0)]),
        limits=EngineLimits(kv_tokens=100, max_running_requests=1),
    )
    # One run calls every function, each with the only types that it ever gets.
    simulate(workload, shared_paths(workload, [1.0], [1.0], None, 0), [tier])
