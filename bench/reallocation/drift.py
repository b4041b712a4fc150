"""A day in minutes: easy requests, then hard ones, then easy ones at twice the rate.

Four emulated devices serve a small and a large tier. Compared over five seeds, by the share of
requests that are answered within a target: a controller that moves workers, with gears between its
plans and without, gears alone on the split of the start, and two fixed splits, of which the better
on average stands for what an operator could have chosen knowing the whole trace. The split with
three large workers is left out: six servers, 4.2 GB each, do not fit 24 GiB. Rates follow from what
the splits carry, measured first: hard requests come at 80 % of what the split with three large
workers carries, easy ones at the end at 80 % of what the one with three small workers does, and at
half of that before.

All arms run at once, each a server of its own, and get the same requests at the same times: what
the host does to one it does to all. Look at its load: where the host is the limit, devices are not
emulated any more, and no figure of the run means anything.

Example:
    python -m bench.reallocation.drift             # writes bench/results/drift.csv and drift.md
    python -m bench.reallocation.drift --smoke     # one seed, short phases; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.client import send_at
from bench.harness.rows import facts_of_this_run, save_rows
from bench.reallocation.drift_report import DriftRuns, Run, report, rows_of
from bench.reallocation.phases import EASY, HARD, Phase, Trace, trace
from bench.reallocation.servers import (
    DEVICES,
    cascade,
    plan,
    requests_of,
    saturation_per_s,
    scaled_profile,
    set_split,
)
from cascadia_sglang.controller.decision import replay_log
from demo.tasks.families import is_correct

MIXES = (EASY, HARD, EASY)
LOAD = 0.8
START = 2
SEED = 95_000
# Steps take so many times as long as in the profile, so that the host is not the limit.
SLOWER = {"small": 16.0, "large": 32.0}
INTERVAL_S = 5.0
PLANNER = {
    "enabled": True,
    "interval_s": INTERVAL_S,
    "objective": "path",
    "cooldown_s": 10.0,
    "horizon_s": 60.0,
}
GEARS = {"enabled": True, "floor": 0.3, "steps": 4, "queue": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to serve the trace."""

    name: str
    split: int
    planner: Mapping[str, Any] | None = None
    gears: Mapping[str, Any] | None = None


ARMS = (
    Arm(name="re-planning and gears", split=START, planner=PLANNER, gears=GEARS),
    Arm(name="re-planning only", split=START, planner=PLANNER),
    Arm(name="gears only", split=START, gears=GEARS),
    *(
        Arm(name=f"fixed, {split} small and {DEVICES - split} large", split=split)
        for split in (START, DEVICES - 1)
    ),
)


def run(port: int, traffic: Trace, slo_s: float) -> Run:
    """Send a trace."""
    number = plan(port)["number"]
    sent = send_at(
        port, requests_of(traffic.questions), traffic.at_s, width=1024, must_succeed=False
    )
    seconds = np.array([reply.seconds for reply in sent.replies])
    good = np.array([reply.status == 200 for reply in sent.replies])
    right = [
        is_correct(question, reply.json()["text"])
        for question, reply in zip(traffic.questions, sent.replies, strict=True)
        if reply.status == 200
    ]
    return Run(
        attained=float((good & (seconds <= slo_s)).mean()),
        p95_s=float(np.quantile(seconds, 0.95)),
        right=float(np.mean(right)) if right else 0.0,
        failed=int((~good).sum()),
        moves=plan(port)["number"] - number,
    )


def check_log(path: Path) -> int:
    """How many decisions were logged; each must come out again.

    Raises:
        RuntimeError: if one does not.
    """
    entries = replay_log(path.read_bytes())
    for entry, decision in entries:
        if entry.decision != decision:
            raise RuntimeError(f"replayed to {decision}: {entry}")
        if entry.decision.reason != "no_change":
            print(f"  {entry.decision.verdict}: {entry.decision.reason}; {entry.outcome}")
    return len(entries)


def serving(folder: Path, port: int, arm: Arm) -> tuple[AbstractContextManager[int], Path]:
    """An arm's server, to be entered, and where its controller logs."""
    folder.mkdir()
    log = folder / "decisions.jsonl"
    planner = None if arm.planner is None else {**arm.planner, "log": str(log)}
    profile = scaled_profile(folder, SLOWER)
    server = cascade(folder, port, arm.split, profile=profile, planner=planner, gears=arm.gears)
    return server, log


def phase_rates(folder: Path, port: int, waiting: int) -> tuple[float, ...]:
    """Of the three phases, from what the splits carry with so many requests under way."""
    with serving(folder, port, Arm(name="rates", split=START))[0] as ready:
        set_split(ready, 1)
        hard = LOAD * saturation_per_s(ready, HARD, waiting, SEED - 1)
        set_split(ready, DEVICES - 1)
        easy = LOAD * saturation_per_s(ready, EASY, waiting, SEED - 2)
    return easy / 2, hard, easy


def study(port: int, folder: Path, seeds: int, phase_s: float, slo_s: float) -> DriftRuns:
    """All arms on all seeds."""
    rates = phase_rates(folder / "rates", port, 32 if seeds == 1 else 128)
    print("rates: " + ", ".join(f"{rate:.2f}/s" for rate in rates), flush=True)
    phases = [
        Phase(families=mix, rate_per_s=rate, seconds=phase_s)
        for mix, rate in zip(MIXES, rates, strict=True)
    ]
    results: DriftRuns = DriftRuns(rates=rates, runs={arm.name: [] for arm in ARMS})
    logs = []
    with ExitStack() as stack:
        ports = {}
        for number, arm in enumerate(ARMS):
            server, log = serving(folder / f"arm-{number}", port + number, arm)
            ports[arm.name] = stack.enter_context(server)
            logs += [log] if arm.planner is not None else []
        threads = stack.enter_context(ThreadPoolExecutor(len(ARMS)))
        for seed in range(seeds):
            traffic = trace(phases, SEED + seed)
            for arm in ARMS:
                set_split(ports[arm.name], arm.split)
            runs = {arm.name: threads.submit(run, ports[arm.name], traffic, slo_s) for arm in ARMS}
            for name, running in runs.items():
                results.runs[name].append(running.result())
                print(f"{name}, seed {seed}: {running.result()}", flush=True)
        for log in logs:
            print(f"{check_log(log)} decisions, replayed to the same")
    return results


def main() -> None:
    """Run all arms, print the table, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--phase-s", type=float, default=120.0)
    parser.add_argument("--slo-s", type=float, default=40.0)
    parser.add_argument("--port", type=int, default=31600)
    parser.add_argument("--smoke", action="store_true", help="briefly; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.reallocation.drift")
    seeds, phase_s = (1, 10.0) if options.smoke else (options.seeds, options.phase_s)
    with tempfile.TemporaryDirectory() as folder:
        results = study(options.port, Path(folder), seeds, phase_s, options.slo_s)
    print(report(results, options.slo_s, facts))
    if not options.smoke:
        save_rows(RESULTS / "drift.csv", rows_of(results, options.slo_s, facts))
        (RESULTS / "drift.md").write_text(report(results, options.slo_s, facts))


if __name__ == "__main__":
    main()
