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
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from cascadia_sglang.calibration.fit.best_promise import prospect
from cascadia_sglang.calibration.fit.calibrate import (
    CalibratedCascade,
    Settings,
    calibrate_parts,
    check_parts,
)
from cascadia_sglang.calibration.fit.split import split_sample
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.record.labels import DEFAULT, KINDS
from cascadia_sglang.calibration.record.records import Record
from cascadia_sglang.calibration.record.session import RecordingSettings, recorded
from cascadia_sglang.calibration.report.costs import (
    DEFAULT_GPU,
    parse_costs,
    step_costs,
    tier_speeds,
)
from cascadia_sglang.calibration.report.output import (
    SecondJudges,
    second_judges,
    summary,
    write,
    write_entry_model,
    write_second_judges,
)
from cascadia_sglang.calibration.report.planner_inputs import plan_sample_of
from cascadia_sglang.calibration.report.ready_file import Results, write_ready_file
from cascadia_sglang.calibration.report.report import examine
from cascadia_sglang.calibration.report.verdict import verdict
from cascadia_sglang.commands import NOT_REACHED
from cascadia_sglang.config.cascade_file import load_cascade, load_uncalibrated
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.extras import install_hint, is_installed
from cascadia_sglang.model_checks.calibrated import model_fingerprint
from cascadia_sglang.model_checks.tokenizer import load_tokenizer
from cascadia_sglang.models.local_files import local_folder
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
        default=0.01,
        help="accuracy that may be lost against the last tier alone, with 95%% confidence; "
        "default: 0.01",
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
    try:
        server_flags = shlex.split(args.server_flags)
    except ValueError as error:
        raise ConfigError(f"--server-flags is {args.server_flags!r}: {error}") from error
    return RecordingSettings(
        data=args.data,
        out=args.out,
        label=args.label,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        concurrency=args.concurrency,
        server_flags=server_flags,
        start_timeout_s=args.start_timeout,
        answer_timeout_s=args.answer_timeout,
    )


def run(args: argparse.Namespace) -> int:
    """Record, label, fit, write.

    Raises:
        CascadiaError: one line; what was recorded stays and is used by the next run.
    """
    has_entry_model = is_installed("sklearn")
    if not has_entry_model:
        _say(f"no entry model: {install_hint('sklearn')}")
    if not is_installed("matplotlib"):
        _say(f"no picture: {install_hint('matplotlib')}")
    config = load_uncalibrated(args.cascade)
    names = [tier.name for tier in config.tiers]
    target, cost_of = _target(args), _cost_of(args, config)

    def check_sample(prompt_keys: Sequence[str]) -> None:
        check_parts(prompt_keys)
        for line in prospect(prompt_keys, len(names) - 1, target):
            _say(line)

    found = recorded(recording_settings(args), config, check_sample)
    settings = Settings(
        tier_names=tuple(names),
        tier_cost=cost_of(found.records),
        target=target,
        early_abort=config.routing.early_abort,
        models=tuple(model_fingerprint(local_folder(tier.model_path)) for tier in config.tiers),
    )
    parts = split_sample(found.pool)
    cascade = calibrate_parts(parts, settings)
    for line in write(examine(cascade, parts, args.label), parts, args.out):
        print(line)
    judges = second_judges(cascade, parts)
    for line in write_second_judges(judges, cascade, parts, args.out):
        print(line)
    if len(names) > 1:
        sample = plan_sample_of(names, cascade.calibrations, found.records, found.pool)
        path = args.out / "sample.json"
        path.write_bytes(msgspec.json.encode(sample) + b"\n")
        print(f"planner: sample: {path}")
    prompt_ids = [record.prompt_ids for record in found.records[0]]
    has_entry_model = has_entry_model and any(prompt_ids)
    if has_entry_model:
        first = config.tiers[0]
        tokenizer = load_tokenizer(first.name, first.model_path, local_folder(first.model_path))
        vocabulary = tokenizer.vocabulary
        for line in write_entry_model(cascade, found.pool, prompt_ids, vocabulary, args.out):
            print(line)
    entry_model = "entry.json" if has_entry_model and (args.out / "entry.json").is_file() else None
    _write_cascade(args, cascade, judges, entry_model)
    for line in summary(cascade):
        print(line)
    told = verdict(cascade)
    print(told.line())
    return 0 if told.is_reached else NOT_REACHED


def _write_cascade(
    args: argparse.Namespace,
    cascade: CalibratedCascade,
    judges: SecondJudges,
    entry_model: str | None,
) -> None:
    """Write the cascade file that is ready to be served, and say where it is."""
    names = cascade.settings.tier_names
    results = Results(
        thresholds=cascade.thresholds,
        calibrations={
            name: f"{name}.json"
            for name, _ in zip(names, cascade.calibrations, strict=False)  # the last may lack one
        },
        draft_calibrations={
            names[one.tier]: f"{names[one.tier]}.draft.json" for one in judges.judges
        },
        drafts=judges.settings(),
        entry_model=entry_model,
        sample="sample.json" if len(names) > 1 else None,
    )
    path = write_ready_file(args.cascade, results, args.out)
    print(f"cascade file: {path}")
    try:
        load_cascade(path)
    except ConfigError as error:
        _say(f"it cannot be served as it is: {error}")


def _target(args: argparse.Namespace) -> Target:
    for kind, value in (
        ("quality", args.target_quality),
        ("escalation_rate", args.escalation_rate),
        ("cost", args.max_cost),
    ):
        if value is not None:
            return Target(kind=kind, value=value, prefers_shown=True)
    return Target(kind="loss", value=args.max_loss, prefers_shown=True)


def _cost_of(
    args: argparse.Namespace, config: CascadeConfig
) -> Callable[[Sequence[Sequence[Record]]], tuple[float, ...]]:
    """Says what an answer of each tier costs, from what was recorded."""
    names = [tier.name for tier in config.tiers]
    if args.tier_cost is not None or len(names) == 1:
        fixed = (1.0,) if args.tier_cost is None else parse_costs(args.tier_cost, names)
        return lambda _: fixed
    speeds = tier_speeds(config, args.profile, args.gpu)

    def by_steps(records: Sequence[Sequence[Record]]) -> tuple[float, ...]:
        costs = step_costs(speeds, records, args.concurrency)
        listed = ", ".join(f"{name} {cost:.3g}" for name, cost in zip(names, costs, strict=True))
        _say(f"cost of an answer: {listed}; its tokens times {speeds.source}")
        return costs

    return by_steps


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
