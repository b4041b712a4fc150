"""How many request-steps the simulator does in a second on one core.

A request-step is a row of a batch step: one request that prefills or decodes. Loads from nearly
idle to full, on a made-up device; compiling is not counted.

Example:
    python -m bench.planner.speed               # writes bench/results/planner.csv
    python -m bench.planner.speed --smoke       # a short load; writes nothing
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from bench import RESULTS
from bench.harness.estimates import spread
from bench.harness.rows import Row, facts_of_this_run, make_row, save_rows
from cascadia_sglang.planner.simulation.paths import direct_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s

TIMES = StepTimes(decode_ms=[(1, 10.0), (64, 20.0)], prefill_ms=[(1, 10.0), (1000, 100.0)])
RATES_PER_S = (1.0, 4.0, 8.0, 12.0)
REPEATS = 7


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    count, repeats = (200, 1) if args.smoke else (10_000, REPEATS)
    facts = facts_of_this_run("bench.planner.speed")
    random = np.random.default_rng(0)
    inputs, outputs = random.integers(10, 500, count), random.integers(50, 400, count)
    rows: list[Row] = []
    for is_blocking in (False, True):
        limits = EngineLimits(kv_tokens=65536, max_running_requests=64, is_blocking=is_blocking)
        tier = SimulatedTier(name="tier", times=TIMES, limits=limits)
        for rate in RATES_PER_S:
            load = build_workload(poisson_arrivals_s(rate, count, 1), inputs, outputs)
            paths = direct_paths(load, 512)
            simulate(load, paths, [tier])  # compiles
            per_s, width = [], 0.0
            for _ in range(repeats):
                started = time.perf_counter()
                outcome = simulate(load, paths, [tier])
                seconds = time.perf_counter() - started
                (replica,) = outcome.replicas
                per_s.append(replica.row_steps / seconds)
                width = replica.row_steps / replica.steps
            kind = "CPU worker" if is_blocking else "GPU worker"
            case = f"{kind}, {rate:g} requests/s, {width:.1f} rows a step"
            print(f"{case}: {np.median(per_s) / 1e6:.1f} million request-steps/s")
            rows.append(
                make_row(
                    facts,
                    bench="planner.speed",
                    case=case,
                    variant="simulator",
                    metric="request_steps_per_s",
                    unit="1/s",
                    value=spread(per_s),
                )
            )
    if not args.smoke:
        save_rows(RESULTS / "planner.csv", rows)


if __name__ == "__main__":
    main()
