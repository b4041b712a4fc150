"""Traffic that shifts: Cascadia, which moves its devices, and a controller like CascadeServe's.

Four emulated devices serve a small and a large tier. Easy questions come, then hard ones, then easy
ones at a higher rate: of hard ones at scale 1 as many as one small and three large workers carry
within the target latency, of easy ones as many as three small and one large, and half as many at
the beginning. All this is simulated before anything is measured (`gear_plan`). Two
arms get the same requests at the same times:

- Cascadia, from two workers a tier: its controller re-plans, its gears follow the queues;
- gears by rate (`gears_by_rate`), on the fixed split that carries the most of the
  whole trace; its gears are planned for the hardest of the trace's mixes.

Thresholds are the same in all: that of the most accurate gear, and, of the last one, the lowest
that is right often enough on a sample of both mixes, half and half. The goodput of an arm is the
highest scale of the trace's rates at which 95 % of the requests are answered within the target,
interpolated between the scales that were run; accuracy is told beside it.

Look at the host's load: where it is the limit, devices are not emulated any more.

Example:
    python -m bench.rivals.shift             # writes bench/results/rivals_shift.{csv,md}
    python -m bench.rivals.shift --smoke     # short phases; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import RESULTS
from bench.harness.client import send_at
from bench.harness.rows import facts_of_this_run, save_rows
from bench.reallocation.drift import check_log
from bench.reallocation.phases import EASY, HARD, Phase, Trace, trace
from bench.reallocation.servers import DEVICES, THRESHOLD, cascade, plan, requests_of, set_split
from bench.rivals.shift.gear_plan import Cluster, answered, lowest_threshold, scaled
from bench.rivals.shift.gears_by_rate import Gear, GearsByRate
from bench.rivals.shift.report import Run, ShiftResult, page, rows_of
from cascadia_sglang.controller.gears import gear_table
from cascadia_sglang.planner.speed.profile import load_profile
from demo.tasks.families import is_correct

PROFILE = Path("bench/rivals/shift/devices.json")
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0)
FLOOR = 0.97
STEPS = 4
START = 2
SEED = 97_000
STARTS = 2  # servers that start at a time
PLANNER = {
    "enabled": True,
    "interval_s": 2.0,
    "objective": "path",
    "cooldown_s": 4.0,
    "horizon_s": 60.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Answers of each mix that are planned by, seconds of the three phases, and scales."""

    sample: int
    phases_s: tuple[float, float, float]
    scales: tuple[float, ...]


FULL = Size(sample=600, phases_s=(20.0, 100.0, 100.0), scales=SCALES)
SMOKE = Size(sample=40, phases_s=(4.0, 8.0, 8.0), scales=SCALES[:1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to serve the trace; `rates` are the gears of a controller beside the server."""

    name: str
    split: int
    planner: Mapping[str, Any] | None = None
    gears: Mapping[str, Any] | None = None
    rates: Sequence[Gear] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What is known before the first request: the phases at scale 1, the arms, and how much of the
    trace each fixed split, and the best split of every phase, carries by simulation."""

    phases: list[Phase]
    arms: list[Arm]
    fixed: dict[int, float]
    moved: float


def planned(size: Size, slo_s: float) -> StudyPlan:
    """Plan it all by simulation."""
    answers = {
        mix: answered(mix, SEED + number, size.sample) for number, mix in enumerate((EASY, HARD))
    }
    lowest = lowest_threshold(list(answers.values()), FLOOR)
    profile = load_profile(PROFILE)
    cluster = Cluster(profile=profile, devices=DEVICES, answers=answers, slo_s=slo_s)
    hard, easy = cluster.most_per_s(HARD, 1, lowest), cluster.most_per_s(EASY, DEVICES - 1, lowest)
    phases = [
        Phase(families=mix, rate_per_s=rate, seconds=seconds)
        for mix, rate, seconds in zip(
            (EASY, HARD, EASY), (easy / 2, hard, easy), size.phases_s, strict=True
        )
    ]
    best, fixed = cluster.best_split(phases, lowest)
    table = [threshold for (threshold,) in gear_table([THRESHOLD], lowest, STEPS)]
    most = profile.limits["large"].max_running_requests
    gears = {"enabled": True, "floor": lowest, "steps": STEPS, "queue": most}
    arms = [
        Arm(name="Cascadia", split=START, planner=PLANNER, gears=gears),
        Arm(name="gears by rate", split=best, rates=cluster.gears(HARD, best, table)),
    ]
    moved = cluster.most_of(phases, (START, 1, DEVICES - 1), lowest)
    return StudyPlan(phases=phases, arms=arms, fixed=fixed, moved=moved)


def run(port: int, arm: Arm, traffic: Trace, slo_s: float) -> Run:
    """Send a trace."""
    number = plan(port)["number"]
    limits = load_profile(PROFILE).limits
    most = {name: limit.max_running_requests for name, limit in limits.items()}
    controller = GearsByRate(port, arm.rates, most) if arm.rates else None
    if controller is not None:
        controller.start()
    sent = send_at(
        port, requests_of(traffic.questions), traffic.at_s, width=4096, must_succeed=False
    )
    if controller is not None:
        controller.stop()
    good = np.array([reply.status == 200 for reply in sent.replies])
    seconds = np.array([reply.seconds for reply in sent.replies])
    right = [
        reply.status == 200 and is_correct(question, reply.json()["text"])
        for question, reply in zip(traffic.questions, sent.replies, strict=True)
    ]
    return Run(
        at_s=np.array(traffic.at_s),
        seconds=seconds,
        in_time=good & (seconds <= slo_s),
        right=np.array(right),
        failed=int((~good).sum()),
        moves=plan(port)["number"] - number,
        shifts=0 if controller is None else controller.shifts,
    )


def busy_cores(began: Any, seconds: float) -> float:
    """Cores of this machine that worked, on average, since `psutil.cpu_times` said `began`."""
    now = psutil.cpu_times()
    idle_s = now.idle + now.iowait - began.idle - began.iowait
    return float(psutil.cpu_count() or 1) - idle_s / seconds


def study(port: int, folder: Path, size: Size, slo_s: float) -> ShiftResult:
    """All arms at all scales."""
    plans = planned(size, slo_s)
    for arm in plans.arms:
        print(arm, flush=True)
    results = ShiftResult(
        phases=plans.phases,
        scales=size.scales,
        slo_s=slo_s,
        floor=FLOOR,
        fixed=plans.fixed,
        moved=plans.moved,
        runs={arm.name: [] for arm in plans.arms},
    )
    limits = load_profile(PROFILE).limits
    running = {name: limit.max_running_requests for name, limit in limits.items()}
    log = folder / "decisions.jsonl"
    with ExitStack() as stack:

        def serve(number: int, arm: Arm) -> int:
            arm_folder = folder / f"arm-{number}"
            arm_folder.mkdir()
            server = cascade(
                arm_folder,
                port + number,
                arm.split,
                profile=PROFILE,
                running=running,
                planner=None if arm.planner is None else {**arm.planner, "log": str(log)},
                gears=arm.gears,
            )
            return stack.enter_context(server)

        # A server ends with the thread that began it: these stay for as long as the servers do.
        starting = stack.enter_context(ThreadPoolExecutor(STARTS))
        ports = list(starting.map(serve, range(len(plans.arms)), plans.arms))
        asking = stack.enter_context(ThreadPoolExecutor(len(plans.arms)))
        for number, scale in enumerate(size.scales):
            traffic = trace(scaled(plans.phases, scale), SEED + 10 + number)
            for arm_port, arm in zip(ports, plans.arms, strict=True):
                set_split(arm_port, arm.split)
            began, since = psutil.cpu_times(), time.monotonic()
            runs = [
                asking.submit(run, port, arm, traffic, slo_s)
                for port, arm in zip(ports, plans.arms, strict=True)
            ]
            for arm, outcome in zip(plans.arms, runs, strict=True):
                results.runs[arm.name].append(outcome.result())
                print(f"{arm.name}, scale {scale}: {outcome.result().summary()}", flush=True)
            results.busy_cores.append(busy_cores(began, time.monotonic() - since))
            print(f"{results.busy_cores[-1]:.2f} cores busy", flush=True)
        print(f"{check_log(log)} decisions, replayed to the same")
    return results


def main() -> None:
    """Run all arms, print the page, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slo-s", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=31700)
    parser.add_argument("--smoke", action="store_true", help="briefly; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.rivals.shift")
    size = SMOKE if options.smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        results = study(options.port, Path(folder), size, options.slo_s)
    print(page(results, facts))
    if not options.smoke:
        save_rows(RESULTS / "rivals_shift.csv", rows_of(results, facts))
        (RESULTS / "rivals_shift.md").write_text(page(results, facts))


if __name__ == "__main__":
    main()
