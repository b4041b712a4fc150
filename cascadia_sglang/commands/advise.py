"""Say whether a cascade pays on these GPUs, against every tier alone and a router.

All keep the same quality floor. The router sends a prompt to one tier before any tier answers. It
uses the predictions in the sample (`entry`). Without predictions it draws randomly. The objective
is the mean latency of a request. The result also says how few GPUs reach the best latency without
a cascade.

It takes a calibrated cascade file and your own sample, in the form of `cascadia calibrate`. Every
tier answers the sample, except for answers that --out already holds. Requests like those of the
sample come at --rate, or as in --trace. Step times are those of --profile, or estimates for --gpu.

It also takes a problem file. --problem-out writes one, and `cascadia plan` reads it too.

Exit code 3: nothing keeps the budget and the floor.

Example:
    cascadia advise cascade.yaml --data set.jsonl --gpus 8 --gpu H100 --rate 20
    cascadia advise --problem problem.json --price-per-gpu-hour 2.5
"""

import argparse
import json
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.calibration.record.session import recorded
from cascadia_sglang.calibration.report.planner_inputs import (
    ProblemSettings,
    calibrations_of,
    check_rows,
    kept_shares,
    plan_sample_of,
    problem_of,
    prompt_lengths,
)
from cascadia_sglang.commands import INFEASIBLE
from cascadia_sglang.commands.calibrate import add_recording_arguments, recording_settings
from cascadia_sglang.commands.profile import add_host_argument
from cascadia_sglang.config.cascade_file import load_cascade, load_uncalibrated
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.outputs import check_output_file
from cascadia_sglang.planner.advice import CASCADE, ROUTER, Advice, advise
from cascadia_sglang.planner.problem.checks import completed, load_problem
from cascadia_sglang.planner.problem.problem import GpuSheet, Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, nargs="?", help="calibrated cascade file")
    parser.add_argument("--data", type=Path, help="with a cascade file: the sample, JSONL")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("calibration"),
        help="folder that keeps answers; default: %(default)s",
    )
    parser.add_argument("--gpus", type=int, help="number of GPUs")
    parser.add_argument("--gpu", default="H100", help="their type; default: H100")
    parser.add_argument(
        "--gpus-per-node", type=int, default=8, help="GPUs of a node; default: %(default)s"
    )
    add_host_argument(parser)
    parser.add_argument("--rate", type=float, help="requests per second")
    parser.add_argument(
        "--trace", type=Path, help="trace in place of requests like those of the sample"
    )
    parser.add_argument(
        "--profile", type=Path, help="profile that was measured with one GPU per worker"
    )
    parser.add_argument("--target-quality", type=float, help="accuracy that must be reached")
    parser.add_argument(
        "--max-loss",
        type=float,
        default=0.01,
        help="without --target-quality: accuracy that may be lost against the last tier; "
        "default: 0.01",
    )
    parser.add_argument("--problem-out", type=Path, help="write the problem file to this path")
    add_recording_arguments(parser)
    parser.add_argument("--problem", type=Path, help="problem file; see `cascadia schema problem`")
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    parser.add_argument(
        "--price-per-gpu-hour", type=_price, default=None, help="price of a GPU, to print costs"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="threads that simulate, 0 for one; default: 2"
    )


def _price(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def run(args: argparse.Namespace) -> int:
    """Compare and print.

    Raises:
        ConfigError: names the file, the place and what is allowed.
    """
    problem = _problem(args)
    advice = advise(problem, workers=args.workers)
    if args.json:
        print(msgspec.json.encode(advice).decode())
    else:
        print("\n".join(lines(problem, advice, args.price_per_gpu_hour)))
    if advice.choice is None:
        source = args.problem or args.cascade
        print(f"cascadia advise: {source}: nothing keeps budget and floor", file=sys.stderr)
        return INFEASIBLE
    return 0


def _problem(args: argparse.Namespace) -> Problem:
    if (args.problem is None) == (args.cascade is None):
        raise ConfigError("needed: a cascade file with --data, or --problem")
    if args.problem is not None:
        return load_problem(args.problem)
    for name in ("data", "gpus"):
        if getattr(args, name) is None:
            raise ConfigError(f"a cascade file needs --{name}")
    if args.trace is None and args.rate is None:
        raise ConfigError("needed: --rate, or a --trace whose own rate counts")
    if args.problem_out is not None:
        check_output_file(args.problem_out, "--problem-out")
    config = load_cascade(args.cascade)
    calibrations, entry = calibrations_of(config), configured_entry(config)
    has_probe = any(calibration.probe is not None for calibration in calibrations)
    recording = load_uncalibrated(args.cascade, records_hidden=has_probe)
    answers = recorded(recording_settings(args), recording, check_rows)
    names = [tier.name for tier in config.tiers]
    problem = problem_of(
        config,
        plan_sample_of(names, calibrations, answers.records, answers.pool, entry),
        prompt_lengths(answers.records),
        kept_shares(calibrations, answers.pool),
        ProblemSettings(
            gpus=args.gpus,
            gpu=GpuSheet(
                name=args.gpu, gpus_per_node=args.gpus_per_node, host_step_ms=args.host_step_ms
            ),
            profile=None if args.profile is None else str(args.profile.resolve()),
            quality_floor=args.target_quality,
            max_loss=args.max_loss,
            trace=None if args.trace is None else str(args.trace.resolve()),
            rate_per_s=args.rate,
        ),
    )
    problem = completed(problem, Path.cwd(), f"of {args.cascade}")
    if args.problem_out is not None:
        text = json.dumps(msgspec.to_builtins(problem), indent=1)
        args.problem_out.write_text(text + "\n", encoding="utf-8")
    return problem


def lines(problem: Problem, advice: Advice, price: float | None) -> list[str]:
    """The comparison for a reader."""
    head = f"{'':<16}{'quality':>9}{'latency s':>12}{'GPUs':>6}{'as fast with':>14}"
    page = [head + (f"{'price/h':>10}" if price is not None else "")]
    rows = [(tier.tier, tier.quality, tier.latency_s, tier.gpus) for tier in advice.alone]
    if advice.router is not None:
        routed = advice.router
        rows.append((ROUTER, routed.quality, routed.latency_s, _taken(problem, routed.allocation)))
    if advice.cascade is not None:
        plan = advice.cascade
        rows.append((CASCADE, plan.quality, plan.objective_s, _taken(problem, plan.allocation)))
    for name, quality, latency_s, gpus in rows:
        served = "none serves" if latency_s is None else f"{latency_s:.4g}"
        least = advice.least_gpus.get(name)
        cost = "" if price is None else "-" if least is None else f"{price * least:.2f}"
        page.append(
            f"{name:<16}{quality:>9.4f}{served:>12}{gpus or '-':>6}{least or '-':>14}"
            + (f"{cost:>10}" if price is not None else "")
        )
    if advice.reference_s is not None:
        page.append(f"as fast: {advice.reference_s:.4g} s, the least without a cascade")
    if advice.router is not None and advice.router.knows == "nothing":
        page.append("the router knows nothing of a prompt: the sample holds no predictions (entry)")
    return [*page, _verdict(advice)]


def _taken(problem: Problem, allocation: list[int]) -> int:
    """GPUs of all pools together."""
    by_pool = {tier.pool_name: gpus for tier, gpus in zip(problem.tiers, allocation, strict=True)}
    return sum(by_pool.values())


def _verdict(advice: Advice) -> str:
    if advice.choice is None:
        return "nothing keeps the budget and the floor"
    if advice.choice != CASCADE:
        alone = "the router" if advice.choice == ROUTER else f"{advice.choice} alone"
        return f"do not cascade: {alone} is as fast"
    if advice.reference_s is None or advice.cascade is None:
        return "cascade: nothing else keeps the budget and the floor"
    return f"cascade: {1 - advice.cascade.objective_s / advice.reference_s:.1%} less latency"
