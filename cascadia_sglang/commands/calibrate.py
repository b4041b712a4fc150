"""Fit scores and thresholds of a cascade on your own sample, and show what they are worth.

It starts the cascade as a child process and records every tier's answer to every question. Then it
labels the answers. Separate parts of the sample give the scores, the thresholds and a bound on the
risk. An interrupted run continues where it stopped. The folder --out then holds a cascade file,
calibrated.yaml, that is ready to be served.

A line of the sample is `{"id": "1", "prompt": "add 2 3", "reference": "5", "group": "add"}`. A chat
has `messages` in place of `prompt`. A grammar is a `constraint`, such as `{"regex": "[0-9]+"}`. A
line may also be the body of a chat request, with its `tools`. --temperature and --max-tokens
replace its own values. A `label` of a line stands in place of --label.

Before the first question it says what the sample can promise at best.

Exit code 4: everything is written, but this sample does not show the target.

Example:
    cascadia calibrate cascade.yaml --data set.jsonl --out calibration \\
        --target-quality 0.95
"""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path

from cascadia_sglang.calibration.calibrate_cascade import DEFAULT_MAX_LOSS, calibrate
from cascadia_sglang.calibration.record.labels import DEFAULT, KINDS
from cascadia_sglang.calibration.record.session import RecordingSettings
from cascadia_sglang.calibration.report.costs import DEFAULT_GPU, parse_costs
from cascadia_sglang.commands import NOT_REACHED
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.speed.roofline import GPUS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file; it needs no calibration yet")
    parser.add_argument("--data", type=Path, required=True, help="the sample, JSONL")
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--target-quality",
        type=_share,
        help="accuracy that the whole cascade must reach, at the least cost",
    )
    target.add_argument(
        "--escalation-rate",
        type=_share,
        help="largest share of requests at the last tier, for the best accuracy",
    )
    target.add_argument("--max-cost", type=float, help="largest mean cost, for the best accuracy")
    target.add_argument(
        "--max-loss",
        type=_share,
        help="accuracy that may be lost against the last tier alone, with 95%% confidence; "
        f"default: {DEFAULT_MAX_LOSS}",
    )
    cost = parser.add_mutually_exclusive_group()
    cost.add_argument(
        "--tier-cost",
        help="cost of an answer per tier, such as small=1,large=8; default: its tokens times step "
        "times",
    )
    cost.add_argument(
        "--profile",
        type=Path,
        help="profile with the step times; default: that of the cascade file",
    )
    cost.add_argument(
        "--gpu",
        choices=sorted(GPUS),
        help=f"without a profile: GPU whose step times are estimated; default: {DEFAULT_GPU}",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="record hidden states too, and fit a probe of them; it is used where it gains",
    )
    add_recording_arguments(parser)


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """How a sample is asked, and how its answers are labelled; `cascadia advise` has these too."""
    parser.add_argument(
        "--label",
        default=DEFAULT,
        help=f"how answers are labelled: {KINDS}; default: {DEFAULT}, by the form of the reference",
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="temperature of the answers; default: 0"
    )
    parser.add_argument("--max-tokens", type=int, default=512, help="most tokens of an answer")
    parser.add_argument("--concurrency", type=int, default=32, help="concurrent questions")
    parser.add_argument("--server-flags", default="", help="SGLang flags for every tier")
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=900.0,
        help="seconds that the server may take to start",
    )
    parser.add_argument(
        "--answer-timeout", type=float, default=600.0, help="seconds that an answer may take"
    )


def recording_settings(args: argparse.Namespace) -> RecordingSettings:
    """The values of `add_recording_arguments`, with `data` and `out`.

    Raises:
        ConfigError: if the server's flags have a quote without its end.
    """
    return RecordingSettings(
        data=args.data,
        out=args.out,
        label=args.label,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        concurrency=args.concurrency,
        server_flags=_server_flags(args.server_flags),
        start_timeout_s=args.start_timeout,
        answer_timeout_s=args.answer_timeout,
    )


def run(args: argparse.Namespace) -> int:
    """Calibrate, and print the results.

    Raises:
        CascadiaError: one line; recorded answers stay, and the next run uses them.
    """
    result = calibrate(
        args.cascade,
        probe=args.probe,
        target_quality=args.target_quality,
        max_loss=args.max_loss,
        escalation_rate=args.escalation_rate,
        max_cost=args.max_cost,
        tier_cost=None if args.tier_cost is None else parse_costs(args.tier_cost),
        profile=args.profile,
        gpu=args.gpu,
        **asdict(recording_settings(args)),
    )
    print("\n".join(result.lines))
    return 0 if result.verdict.is_reached else NOT_REACHED


def _server_flags(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--server-flags is {text!r}: {error}") from error


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
