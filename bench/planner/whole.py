"""How long a whole plan takes from a trace: surfaces, thresholds and whole simulations.

Example:
    python -m bench.planner.whole --trace FILE --per-gpu 0.375   # writes results/planner.csv
    python -m bench.planner.whole --trace FILE --per-gpu 0.1 --gpus 32 --objective slo
    python -m bench.planner.whole              # a trace drawn from a seed
    python -m bench.planner.whole --smoke      # a short one; writes nothing

Three tiers (Qwen3 1.7B, 8B and 32B) on H100s by roofline, a calibration sample of 1,000 rows. The
trace may be Azure's, Mooncake's or an own one. `cascadia plan` runs as a process of its own, from
its start to the printed plan; two threads simulate. `surfaces cold` keeps compiled code from an
earlier run, as on a machine that has planned before, and no surfaces; `all warm` keeps both; `cold
start` keeps neither. The rate is so many requests a second for every GPU: one that the budget can
carry at all, so fewer where prompts are long.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Row, facts_of_this_run, make_row, save_rows
from bench.planner.fleet import drawn_workload, save_trace
from bench.planner.objectives import OBJECTIVES, problem_data

# Of GPUs: seconds that a plan with cold surfaces may take.
TARGET_S = {32: 2.0, 80: 5.0}
REPEATS = 3


def planned(path: Path, cache: Path) -> tuple[float, dict]:
    """Seconds that the command takes, and its plan."""
    program = "from cascadia_sglang.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "plan", "--problem", str(path), "--json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    started = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    # 4: a plan that misses its targets.
    if process.returncode not in (0, 4):
        raise SystemExit(process.stderr.strip())
    return time.perf_counter() - started, json.loads(process.stdout)


def measured(path: Path, cache: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of a problem's plans by what is kept from before; all that ended need to be equal."""
    shutil.rmtree(cache, ignore_errors=True)
    runs = {"cold start": [planned(path, cache)], "surfaces cold": [], "all warm": []}
    for _ in range(repeats):
        shutil.rmtree(cache / "cascadia" / "surfaces")
        runs["surfaces cold"].append(planned(path, cache))
        runs["all warm"].append(planned(path, cache))
    plans = [{**plan, "solve_s": 0.0} for timed_plans in runs.values() for _, plan in timed_plans]
    # What the time limit leaves depends on what else the machine does.
    ended = [plan for plan in plans if plan["status"] != "time_limit"]
    if any(plan != ended[0] for plan in ended):
        raise SystemExit("two runs gave different plans")
    return {name: [seconds for seconds, _ in timed_plans] for name, timed_plans in runs.items()}


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, help="instead of one drawn from a seed")
    parser.add_argument("--per-gpu", type=float, default=0.375, help="requests a second")
    parser.add_argument("--gpus", type=int, choices=TARGET_S, nargs="+", default=list(TARGET_S))
    parser.add_argument("--objective", choices=OBJECTIVES, nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.planner.whole")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = args.trace or folder / "trace.csv"
        if args.trace is None:
            save_trace(drawn_workload(10.0, 300 if args.smoke else 10_000, 3), trace)
        for gpus in args.gpus[: 1 if args.smoke else None]:
            for objective in args.objective[: 1 if args.smoke else None]:
                path = folder / f"{gpus}-{objective}.json"
                path.write_text(
                    json.dumps(problem_data(trace, gpus, gpus * args.per_gpu, objective))
                )
                measured_s = measured(path, folder / "cache", 1 if args.smoke else REPEATS)
                case = f"3 tiers, {gpus} GPUs, {objective}, from a trace"
                times_text = ", ".join(
                    f"{key} {max(times):.2f} s" for key, times in measured_s.items()
                )
                print(
                    f"{case}: {times_text}; allowed with surfaces cold {TARGET_S[gpus]:g} s",
                    flush=True,
                )
                for key, times in measured_s.items():
                    value = spread(times) if len(times) > 1 else Estimate(p50=times[0], n=1)
                    rows.append(
                        make_row(
                            facts,
                            bench="planner whole",
                            case=case,
                            variant=trace.name if args.trace else "drawn trace",
                            metric=f"whole plan, {key}",
                            unit="s",
                            value=value,
                        )
                    )
    if not args.smoke:
        save_rows(RESULTS / "planner.csv", rows)


if __name__ == "__main__":
    main()
