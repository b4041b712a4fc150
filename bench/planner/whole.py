"""How long a whole plan takes from a trace, surfaces and trial included.

Example:
    python -m bench.planner.whole                    # writes bench/results/planner.csv
    python -m bench.planner.whole --trace FILE.csv --per-gpu 0.1   # Azure's, Mooncake's, an own
    python -m bench.planner.whole --smoke            # a short trace; writes nothing

Three tiers (7B, 70B, 671B in four bits) on H100s by roofline, a trace of 10,000 requests drawn
from a seed, a calibration sample of 1,000 rows. `cascadia plan` runs as a process of its own, from
its start to the printed plan; two workers simulate. Compiled code is kept from an earlier run, as
it is on a machine that has planned before. The rate is so many requests a second for every GPU: one
that the budget can carry at all, so fewer where prompts are long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.planner.fleet import DEEPSEEK, drawn_workload, graded_sample, save_trace

# GPUs, and seconds that a plan may take.
CASES = ((32, 10.0), (80, 30.0))
OBJECTIVES = ("bottleneck", "path")
REPEATS = 3
FLOOR = 0.85
SKILLS = (0.62, 0.8, 0.9)


def problem_file(
    folder: Path, gpus: int, rate_per_s: float, objective: str, trace: Path, rows: int
) -> Path:
    """Write the problem of a case."""
    problem = {
        "gpu_budget": gpus,
        "quality_floor": FLOOR,
        "objective": objective,
        "gpu": {"name": "H100"},
        "tiers": list(DEEPSEEK),
        "workload": {"trace": str(trace.resolve()), "rate_per_s": rate_per_s},
        "slo": {"e2e_ms": 30_000.0},
        "calibration": msgspec.to_builtins(graded_sample(SKILLS, rows, 5)),
    }
    path = folder / f"{gpus}-{objective}.json"
    path.write_text(json.dumps(problem))
    return path


def planned(path: Path) -> tuple[float, dict]:
    """Seconds that the command takes, and its plan."""
    program = "from cascadia_sglang.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "plan", "--problem", str(path)]
    started = time.perf_counter()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return time.perf_counter() - started, json.loads(done.stdout)


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, help="instead of one drawn from a seed")
    parser.add_argument("--per-gpu", type=float, default=0.375, help="requests a second")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.planner.whole")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = args.trace or folder / "trace.csv"
        if args.trace is None:
            save_trace(drawn_workload(10.0, 300 if args.smoke else 10_000, 3), trace)
        for gpus, target_s in CASES[: 1 if args.smoke else 2]:
            for objective in OBJECTIVES:
                path = problem_file(folder, gpus, gpus * args.per_gpu, objective, trace, 1_000)
                if not args.smoke:
                    planned(path)  # compiles, where no run before has
                runs = [planned(path) for _ in range(1 if args.smoke else REPEATS)]
                plans = [{**plan, "solve_s": 0.0} for _, plan in runs]
                if any(plan != plans[0] for plan in plans):
                    raise SystemExit("two runs gave different plans")
                seconds = [second for second, _ in runs]
                case = f"3 tiers, {gpus} GPUs, {objective}, from a trace"
                print(f"{case}: {max(seconds):.2f} s at most, allowed {target_s:g}", flush=True)
                for metric, value in (
                    ("whole plan", spread(seconds)),
                    ("slowest whole plan", Estimate(p50=max(seconds), n=len(seconds))),
                ):
                    rows.append(
                        make_row(
                            facts,
                            bench="planner whole",
                            case=case,
                            variant=trace.name if args.trace else "drawn trace",
                            metric=metric,
                            unit="s",
                            value=value,
                        )
                    )
    if not args.smoke:
        save_rows(RESULTS / "planner.csv", rows)


if __name__ == "__main__":
    main()
