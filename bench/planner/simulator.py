"""How near simulated latencies come to those of the real server.

An arm is a tier alone or the cascade. Its step times are measured first, by random prompts (as
`cascadia profile` does), on the server that then serves: servers of one machine differ by a third.
Then prompts of the test split come as a Poisson process at 30, 60 and 75 % of
what the arm can carry, five runs each with prompts of their own, and every run is simulated with
its own arrival times, lengths and paths. So every run is a pair, and its error holds nothing of
what its arrivals happened to be. The targets: the mean latency is within 5 % in each cell with
--emulated, and within 15 % without, with a half width of the 95 % interval of the pairs of at most
3 %; the simulated p95 is within 10 % of the real one, or within half the width of the 95 % interval
of the five.

With --emulated the tiers run on emulated devices (bench/planner/emulated.yaml), so that step times
are known and the workers do not disturb each other.

With --kept the same command continues where it was stopped.

Example:
    python -m bench.planner.simulator --arm small              # writes bench/results/simulator.csv
    python -m bench.planner.simulator --emulated --kept /tmp/simulator
    python -m bench.planner.simulator --emulated --smoke       # a few requests; writes nothing
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import RESULTS
from bench.harness.client import send_all
from bench.harness.load import questions, requests
from bench.harness.rows import facts_of_this_run, save_rows
from bench.harness.server import running_server
from bench.planner.kept_cells import KeptCells
from bench.planner.observed import observe, replay
from bench.planner.report import report
from bench.planner.simulator_cell import Cell, rows_of
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.config.cascade_file import load_cascade, read_cascade
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import HostTimes, Profile
from cascadia_sglang.planner.workload.workload import poisson_arrivals_s
from cascadia_sglang.profiling.measure import measure_server
from cascadia_sglang.worker.step_log import STEP_LOG_FOLDER

CASCADE = "cascade"
REAL, EMULATED = Path("demo/cascade.yaml"), Path("bench/planner/emulated.yaml")
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")
LOADS = (0.3, 0.6, 0.75)
RUNS = 5
# Of a run: seconds of arrivals, and requests at least.
RUN_S = 6.0
FEWEST = 30
SEED = 70_000
# Error of the mean latency that is allowed, on emulated devices and at the host's own speed.
ALLOWED_EMULATED, ALLOWED_HOST = 0.05, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is asked: a server and, of a cascade, perhaps one of its tiers."""

    name: str
    port: int
    pinned: str | None
    tiers: list[SimulatedTier]
    host: HostTimes
    allowed_mean: float


def start(stack: ExitStack, config: Path, port: int, *, quick: bool) -> tuple[int, Profile]:
    """A server that ends with the stack, and the step times of its workers."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    running = running_server(
        ("--plugin", "cascadia", "--cascade-config", str(config), *FLAGS),
        port=port,
        log=folder / "log",
        environment={STEP_LOG_FOLDER: str(folder)},
    )
    stack.enter_context(running)
    return port, measure_server(load_cascade(config), port, folder, quick=quick)


def label(name: str, emulated: bool) -> str:
    """An arm as its cells name it."""
    if emulated:
        return f"{name}, emulated"
    return name if name == CASCADE else f"{name} alone"


def saturation_per_s(arm: Arm, count: int) -> float:
    """Requests per second with more waiting than run."""
    headers = None if arm.pinned is None else {"x-cascadia-tier": arm.pinned}
    sent = requests(questions(SEED - 1, count), headers=headers)
    send_all(arm.port, sent[: count // 4], 64)
    return send_all(arm.port, sent, 96).requests_per_s


def cells(arm: Arm, runs: int, smoke: bool, store: KeptCells) -> Iterator[Cell]:
    """Every load of an arm, measured unless it is kept."""
    kept_cells = [store.find(arm.name, load) for load in LOADS]
    rates_per_s = [cell.rate_per_s / cell.load for cell in kept_cells if cell is not None]
    most = rates_per_s[0] if rates_per_s else saturation_per_s(arm, 64 if smoke else 96)
    print(f"{arm.name}: carries {most:.1f}/s", file=sys.stderr, flush=True)
    for index, (load, kept_cell) in enumerate(zip(LOADS, kept_cells, strict=True)):
        if kept_cell is not None:
            yield kept_cell
            continue
        rate = load * most
        count = 24 if smoke else max(FEWEST, int(RUN_S * rate))
        real, simulated = [], []
        for run in range(1 if smoke else runs):
            seed = SEED + 100 * index + run
            at_s = poisson_arrivals_s(rate, count, seed)
            names = [tier.name for tier in arm.tiers]
            observed = observe(arm.port, at_s.tolist(), seed, names, arm.pinned)
            real.append(_summary_ms(observed.e2e_s))
            outcome = replay(observed, arm.tiers, arm.host)
            simulated.append(_summary_ms(outcome.e2e_s_R))
        cell = Cell(
            arm=arm.name,
            load=load,
            rate_per_s=rate,
            requests=count,
            allowed_mean=arm.allowed_mean,
            real_mean_ms=[mean for mean, _, _ in real],
            real_p50_ms=[p50 for _, p50, _ in real],
            real_p95_ms=[p95 for _, _, p95 in real],
            simulated_mean_ms=[mean for mean, _, _ in simulated],
            simulated_p50_ms=[p50 for _, p50, _ in simulated],
            simulated_p95_ms=[p95 for _, _, p95 in simulated],
        )
        store.keep(cell)
        yield cell


def _summary_ms(seconds: Sequence[float] | FloatArray) -> tuple[float, float, float]:
    """Mean, median and p95."""
    p50, p95 = np.quantile(seconds, (0.5, 0.95)).tolist()
    return 1000 * float(np.mean(seconds)), 1000 * p50, 1000 * p95


def arms(
    args: argparse.Namespace, tiers: Sequence[str], arms_to_run: Sequence[str], stack: ExitStack
) -> Iterator[Arm]:
    """Start what was asked for; each arm's servers end before the next one's begin."""
    config = _config(args)
    names = list(tiers)
    if args.emulated:
        port, profile = start(stack, config, args.port, quick=True)
        for name in arms_to_run:
            used = names if name == CASCADE else [name]
            pinned = None if name == CASCADE else name
            yield _arm(label(name, emulated=True), port, pinned, profile, used, ALLOWED_EMULATED)
        return
    for name in arms_to_run:
        with ExitStack() as servers:
            folder = Path(servers.enter_context(tempfile.TemporaryDirectory()))
            served = folder / "cascade.json"
            data = _writing_anew(config) if name == CASCADE else _alone(config, name)
            served.write_text(json.dumps(data))
            port, profile = start(servers, served, args.port, quick=False)
            used = names if name == CASCADE else [name]
            yield _arm(label(name, emulated=False), port, None, profile, used, ALLOWED_HOST)


def _config(args: argparse.Namespace) -> Path:
    return EMULATED if args.emulated else REAL


def _alone(config: Path, name: str) -> dict:
    """A cascade of one tier without a judge."""
    tiers = read_cascade(config).data["tiers"]
    (tier,) = (tier for tier in tiers if tier["name"] == name)
    return {"version": 1, "tiers": [{k: v for k, v in tier.items() if "calibration" not in k}]}


def _writing_anew(config: Path) -> dict:
    """The cascade without drafts, of which the simulation here is told nothing."""
    cascade = read_cascade(config).data
    return {**cascade, "routing": {**cascade["routing"], "drafts": "off"}}


def _arm(
    name: str,
    port: int,
    pinned: str | None,
    profile: Profile,
    tiers: list[str],
    allowed_mean: float,
) -> Arm:
    simulated = [
        SimulatedTier(name=t, times=profile.tiers[t], limits=profile.limits[t]) for t in tiers
    ]
    return Arm(
        name=name,
        port=port,
        pinned=pinned,
        tiers=simulated,
        host=profile.host,
        allowed_mean=allowed_mean,
    )


def main() -> None:
    """Measure, simulate, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arm", default="all", help="small, middle, large, cascade or all")
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--kept", type=Path, help="folder of the cells of a stopped run")
    parser.add_argument("--runs", type=int, choices=range(2, 11), default=RUNS, help="of each load")
    parser.add_argument("--port", type=int, default=31000)
    parser.add_argument("--smoke", action="store_true", help="24 requests; writes nothing")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.planner.simulator")
    tiers = [tier["name"] for tier in read_cascade(_config(args)).data["tiers"]]
    settings = f"{facts.commit}, {args.runs} runs of {RUN_S} s and {FEWEST} requests"
    store = KeptCells(folder=None if args.smoke else args.kept, settings=settings)
    measured: list[Cell] = []
    arms_to_run = []
    for name in [*tiers, CASCADE] if args.arm == "all" else [args.arm]:
        kept_cells = [store.find(label(name, args.emulated), load) for load in LOADS]
        if None in kept_cells:
            arms_to_run.append(name)
        else:
            measured += [cell for cell in kept_cells if cell is not None]
    with ExitStack() as stack:
        for arm in arms(args, tiers, arms_to_run, stack) if arms_to_run else ():
            for cell in cells(arm, args.runs, args.smoke, store):
                print(report([cell]), file=sys.stderr, flush=True)
                measured.append(cell)
                if not args.smoke:
                    save_rows(RESULTS / "simulator.csv", rows_of(cell, facts))
    print(report(measured))


if __name__ == "__main__":
    main()
