"""A day in minutes: easy requests, then hard ones, then easy ones at twice the rate.

Four emulated devices serve a small and a large tier. Compared over five seeds, by the share of
requests that are answered within a target: a controller that moves workers (`re-planning`), gears
alone on the split of the start, and every fixed split, of which the best on average stands for what
an operator could have chosen knowing the whole trace. Rates follow from what the splits carry,
measured first: hard requests come at 75 % of what the split with three large workers carries, easy
ones at the end at 75 % of what the one with three small workers does, and at half of that before.

Example:
    python -m bench.reallocation.drift             # writes bench/results/drift.csv and drift.md
    python -m bench.reallocation.drift --smoke     # one seed, short phases; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.client import send_at
from bench.harness.estimates import Estimate
from bench.harness.rows import (
    RESULTS,
    Facts,
    Row,
    facts_of_this_run,
    make_row,
    save_rows,
    source_line,
)
from bench.ladder.splits import sample
from bench.reallocation.servers import (
    DEVICES,
    asked,
    cascade,
    plan,
    saturation_per_s,
    scaled_profile,
    set_split,
)
from cascadia_sglang.planner.workload import poisson_arrivals_s
from cascadia_sglang.reallocation.decide import replayed

BENCH = "reallocation.drift"
# What the small tier can, and what it often cannot; all with short answers.
EASY = ("sort", "get", "rev")
HARD = ("add", "mul", "count")
MIXES = (EASY, HARD, EASY)
LOAD = 0.75
START = 2
# Student's t for five seeds.
T_95 = 2.776
SEED = 95_000
# Steps take so many times as long as in the profile, so that the host is not the limit.
SLOWER = {"small": 8.0, "large": 16.0}
INTERVAL_S = 3.0
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
    Arm(name="re-planning", split=START, planner=PLANNER),
    Arm(name="gears only", split=START, gears=GEARS),
    *(
        Arm(name=f"fixed, {split} small and {DEVICES - split} large", split=split)
        for split in range(1, DEVICES)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests and their times."""

    requests: list[bytes]
    at_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an arm made of a seed's trace."""

    attained: float
    p95_s: float
    failed: int
    moves: int


def trace(rates: tuple[float, ...], phase_s: float, seed: int) -> Trace:
    """A phase of every mix at its rate, as Poisson processes."""
    requests: list[bytes] = []
    at_s: list[float] = []
    for phase, (rate, mix) in enumerate(zip(rates, MIXES, strict=True)):
        count = max(2, round(rate * phase_s))
        own = 10 * seed + phase
        requests += asked(sample("test", own, count, mix))
        times = poisson_arrivals_s(rate, count, own)
        # Scaled to the phase, so that the next one begins when this one is over.
        at_s += (phase * phase_s + times * phase_s / times[-1] * (1 - 1 / count)).tolist()
    return Trace(requests=requests, at_s=at_s)


def rates(port: int, waiting: int) -> tuple[float, ...]:
    """Of the three phases."""
    set_split(port, 1)
    hard = LOAD * saturation_per_s(port, HARD, waiting, SEED - 1)
    set_split(port, DEVICES - 1)
    easy = LOAD * saturation_per_s(port, EASY, waiting, SEED - 2)
    set_split(port, START)
    return easy / 2, hard, easy


def run(port: int, what: Trace, arm: Arm, slo_s: float) -> Run:
    """Send a trace, beginning at the arm's split."""
    set_split(port, arm.split)
    number = plan(port)["number"]
    sent = send_at(port, what.requests, what.at_s, width=1024, must_succeed=False)
    seconds = np.array([reply.seconds for reply in sent.replies])
    good = np.array([reply.status == 200 for reply in sent.replies])
    return Run(
        attained=float((good & (seconds <= slo_s)).mean()),
        p95_s=float(np.quantile(seconds, 0.95)),
        failed=int((~good).sum()),
        moves=plan(port)["number"] - number,
    )


def check_log(path: Path) -> int:
    """How many decisions were logged; each must come out again.

    Raises:
        RuntimeError: if one does not.
    """
    entries = replayed(path.read_bytes())
    for entry, decision in entries:
        if entry.decision != decision:
            raise RuntimeError(f"replayed to {decision}: {entry}")
        if entry.decision.reason != "no_change":
            print(f"  {entry.decision.verdict}: {entry.decision.reason}; {entry.outcome}")
    return len(entries)


def mean_of(values: list[float]) -> Estimate:
    """Mean over the seeds with its 95 % interval."""
    center = float(np.mean(values))
    if len(values) < 2:
        return Estimate(p50=center, n=1)
    half = T_95 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Estimate(p50=center, low95=center - half, high95=center + half, n=len(values))


def study(port: int, folder: Path, seeds: int, phase_s: float, slo_s: float) -> dict[str, Any]:
    """All arms on all seeds; runs by arm, and the rates."""
    found: dict[str, list[Run]] = {}
    phase_rates: tuple[float, ...] = ()
    for number, arm in enumerate(ARMS):
        with ExitStack() as stack:
            own = folder / f"arm-{number}"
            own.mkdir()
            profile = scaled_profile(own, SLOWER)
            log = own / "decisions.jsonl"
            planner = None if arm.planner is None else {**arm.planner, "log": str(log)}
            if not phase_rates:
                measuring = stack.enter_context(ExitStack())
                served = measuring.enter_context(cascade(own, port, START, profile=profile))
                phase_rates = rates(served, 32 if seeds == 1 else 128)
                print("rates: " + ", ".join(f"{rate:.2f}/s" for rate in phase_rates), flush=True)
                measuring.close()
            stack.enter_context(
                cascade(own, port, arm.split, profile=profile, planner=planner, gears=arm.gears)
            )
            for seed in range(seeds):
                one = run(port, trace(phase_rates, phase_s, SEED + seed), arm, slo_s)
                found.setdefault(arm.name, []).append(one)
                print(f"{arm.name}, seed {seed}: {one}", flush=True)
            if planner is not None:
                print(f"{check_log(log)} decisions, replayed to the same")
    return {"runs": found, "rates": phase_rates}


def best_fixed(runs: dict[str, list[Run]]) -> str:
    """The fixed split of the best mean attainment."""
    fixed = [name for name in runs if name.startswith("fixed")]
    return max(fixed, key=lambda name: float(np.mean([one.attained for one in runs[name]])))


def rows_of(found: dict[str, Any], slo_s: float, facts: Facts) -> list[Row]:
    """Every arm's numbers, and its difference to the best fixed split, paired by seed."""
    runs: dict[str, list[Run]] = found["runs"]
    base = [one.attained for one in runs[best_fixed(runs)]]
    case = f"easy, hard, easy at twice the rate; within {slo_s:g} s"
    rows = []
    for name, own in runs.items():
        values = {
            "attained": ("1", [one.attained for one in own]),
            "attained - best fixed": (
                "1",
                [one.attained - other for one, other in zip(own, base, strict=True)],
            ),
            "e2e_p95": ("s", [one.p95_s for one in own]),
            "failed": ("count", [float(one.failed) for one in own]),
            "moves": ("count", [float(one.moves) for one in own]),
        }
        rows += [
            make_row(
                facts,
                bench=BENCH,
                case=case,
                variant=name,
                metric=metric,
                unit=unit,
                value=mean_of(numbers),
            )
            for metric, (unit, numbers) in values.items()
        ]
    return rows


def report(found: dict[str, Any], slo_s: float, facts: Facts) -> str:
    """The table."""
    runs: dict[str, list[Run]] = found["runs"]
    best = best_fixed(runs)
    told = ", ".join(f"{rate:.2f}" for rate in found["rates"])
    lines = [
        "# A changing workload, on emulated devices",
        "",
        f"Answered within {slo_s:g} s; rates of the phases {told} requests/s; means over "
        f"{len(runs[best])} seeds with 95 % intervals.",
        "",
        "| arm | attained | p95, s | failed | moves |",
        "|---|---|---|---|---|",
    ]
    for name, own in runs.items():
        attained = mean_of([one.attained for one in own])
        interval = (
            ""
            if attained.low95 is None or attained.high95 is None
            else f" ({100 * attained.low95:.1f} to {100 * attained.high95:.1f})"
        )
        mark = ", the best of the fixed" if name == best else ""
        lines.append(
            f"| {name}{mark} | {100 * attained.p50:.1f} %{interval} "
            f"| {np.mean([one.p95_s for one in own]):.1f} | {sum(one.failed for one in own)} "
            f"| {np.mean([one.moves for one in own]):.1f} |"
        )
    return "\n".join([*lines, "", source_line(facts), ""])


def main() -> None:
    """Run all arms, print the table, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--phase-s", type=float, default=90.0)
    parser.add_argument("--slo-s", type=float, default=20.0)
    parser.add_argument("--port", type=int, default=31600)
    parser.add_argument("--smoke", action="store_true", help="briefly; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.reallocation.drift")
    seeds, phase_s = (1, 10.0) if options.smoke else (options.seeds, options.phase_s)
    with tempfile.TemporaryDirectory() as folder:
        found = study(options.port, Path(folder), seeds, phase_s, options.slo_s)
    print(report(found, options.slo_s, facts))
    if not options.smoke:
        save_rows(RESULTS / "drift.csv", rows_of(found, options.slo_s, facts))
        (RESULTS / "drift.md").write_text(report(found, options.slo_s, facts))


if __name__ == "__main__":
    main()
