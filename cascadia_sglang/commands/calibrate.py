"""Fit scores and thresholds of a cascade on your own sample, and say what they are worth.

The cascade's own server runs as a child and records how every tier answers every question; answers
are labelled; scores, thresholds and a bound on the risk are computed from separate parts of the
sample. An interrupted run goes on where it stopped.

A line of the sample: {"id": "1", "prompt": "add 2 3", "reference": "5", "group": "add"}; `messages`
in place of `prompt` for a chat, `constraint` for a grammar ({"regex": "[0-9]+"}).

Example:
    cascadia calibrate cascade.yaml --data set.jsonl --out calibration --label exact \\
        --target-quality 0.95
"""

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from cascadia_sglang.calibration.asking import Sampling, digest_of
from cascadia_sglang.calibration.calibrate import Settings, calibrate_parts
from cascadia_sglang.calibration.labels import KINDS, Labeler, make_labeler, needs_reference
from cascadia_sglang.calibration.output import write, write_entry_model
from cascadia_sglang.calibration.pool import Pool
from cascadia_sglang.calibration.recording import missing, record_tier
from cascadia_sglang.calibration.records import Key, Record, RecordFile, pool_of
from cascadia_sglang.calibration.report import examine
from cascadia_sglang.calibration.sample import Question, read_sample
from cascadia_sglang.calibration.server import recording_server
from cascadia_sglang.calibration.split import split_sample
from cascadia_sglang.calibration.thresholds import Target
from cascadia_sglang.cascade_file import load_uncalibrated
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import CalibrationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cascade", type=Path, help="the cascade file; needs no calibration yet")
    parser.add_argument("--data", type=Path, required=True, help="the sample, JSONL")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--label", default="exact", help=f"{KINDS}; default: exact")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--target-quality", type=_share, help="least accuracy of the whole cascade, cheapest"
    )
    target.add_argument(
        "--escalation-rate", type=_share, help="largest share at the last tier, most accurate"
    )
    target.add_argument("--max-cost", type=float, help="largest mean cost, most accurate")
    target.add_argument(
        "--max-loss",
        type=_share,
        default=0.01,
        help="largest accuracy lost beside the last tier, with 95%% confidence; default: 0.01",
    )
    parser.add_argument(
        "--tier-cost", help="of an answer, as small=1,large=8; default: its mean time, recorded"
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    parser.add_argument("--max-tokens", type=int, default=512, help="of an answer")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--server-flags", default="", help="SGLang flags for every tier")
    parser.add_argument("--start-timeout", type=float, default=900.0, help="seconds")
    parser.add_argument("--answer-timeout", type=float, default=600.0, help="seconds")


def run(args: argparse.Namespace) -> int:
    """Record, label, fit, write.

    Raises:
        CascadiaError: one line; what was recorded stays and is used by the next run.
    """
    config = load_uncalibrated(args.cascade)
    labeler = make_labeler(args.label)
    names = [tier.name for tier in config.tiers]
    fixed_cost = None if args.tier_cost is None else parse_costs(args.tier_cost, names)
    questions = _labelled(read_sample(args.data), args.label)
    args.out.mkdir(parents=True, exist_ok=True)
    with _ending_on_sigterm():
        asked, records = _recorded(args, config, questions)
    pool = _pool(asked, records, labeler)
    settings = Settings(
        tier_names=tuple(names),
        tier_cost=fixed_cost or recorded_costs(records),
        target=_target(args),
        early_abort=config.routing.early_abort,
    )
    parts = split_sample(pool)
    cascade = calibrate_parts(parts, settings)
    for line in write(examine(cascade, parts, args.label), parts, args.out):
        print(line)
    prompt_ids = [record.prompt_ids for record in records[0]]
    if any(prompt_ids):
        # SGLang's import is slow, and only this needs it.
        from cascadia_sglang.workers.tokenizers import vocabulary_of

        vocabulary = vocabulary_of(config.tiers[0])
        for line in write_entry_model(cascade, pool, prompt_ids, vocabulary, args.out):
            print(line)
    return 0


def _target(args: argparse.Namespace) -> Target:
    for kind, value in (
        ("quality", args.target_quality),
        ("escalation_rate", args.escalation_rate),
        ("cost", args.max_cost),
    ):
        if value is not None:
            return Target(kind=kind, value=value)
    return Target(kind="loss", value=args.max_loss)


def _labelled(questions: list[Question], label: str) -> list[Question]:
    """Those that can be labelled; how many cannot is said on stderr."""
    if not needs_reference(label):
        return questions
    kept = [question for question in questions if question.reference is not None]
    if len(kept) < len(questions):
        _tell(f"{len(questions) - len(kept)} questions without a reference are left out")
    if not kept:
        raise CalibrationError(f"no question has a reference, --label {label} needs one")
    return kept


def _recorded(
    args: argparse.Namespace, config: CascadeConfig, questions: list[Question]
) -> tuple[list[Question], list[list[Record]]]:
    """Questions that every tier has answered, and the answers of each; asks for what is missing."""
    sampling = Sampling(temperature=args.temperature, max_tokens=args.max_tokens)
    with RecordFile(args.out / "records.jsonl") as file:
        known = file.load()
        todo = [missing(questions, tier, sampling, known) for tier in config.tiers]
        if any(todo):
            flags = shlex.split(args.server_flags)
            _tell(f"starting the server, its log is {args.out / 'server.log'}")
            with recording_server(config, args.out, flags, args.start_timeout) as port:
                for tier, unanswered in zip(config.tiers, todo, strict=True):
                    new = record_tier(
                        port,
                        unanswered,
                        tier,
                        sampling,
                        file,
                        concurrency=args.concurrency,
                        timeout_s=args.answer_timeout,
                    )
                    known |= {record.key: record for record in new}
    return _complete(config, questions, sampling, known)


def _complete(
    config: CascadeConfig, questions: list[Question], sampling: Sampling, known: dict[Key, Record]
) -> tuple[list[Question], list[list[Record]]]:
    keys = [
        [(tier.name, question.id, digest_of(question, tier, sampling)) for tier in config.tiers]
        for question in questions
    ]
    whole = [row for row, own in enumerate(keys) if all(key in known for key in own)]
    if not whole:
        raise CalibrationError("no question was answered by every tier")
    records = [[known[keys[row][tier]] for row in whole] for tier in range(len(config.tiers))]
    return [questions[row] for row in whole], records


def _pool(asked: list[Question], records: list[list[Record]], labeler: Labeler) -> Pool:
    answers = [[record.text for record in own] for own in records]
    return pool_of(asked, records, labeler(asked, answers))


def recorded_costs(records: Sequence[Sequence[Record]]) -> tuple[float, ...]:
    """Mean seconds of an answer of each tier, in units of the first tier's."""
    seconds = [float(np.mean([record.seconds for record in own])) for own in records]
    return tuple(value / max(seconds[0], 1e-9) for value in seconds)


def parse_costs(text: str, names: Sequence[str]) -> tuple[float, ...]:
    """Costs from `small=1,large=8`.

    Raises:
        CalibrationError: unless every tier has one positive number.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as error:
            raise CalibrationError(f"--tier-cost: {part!r} is not TIER=NUMBER") from error
    if set(found) != set(names) or min(found.values()) <= 0:
        raise CalibrationError(
            f"--tier-cost {text!r} needs one number above 0 for each of {', '.join(names)}"
        )
    return tuple(found[name] for name in names)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the server is stopped."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
