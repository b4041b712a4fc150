"""What `calibrate` and `advise` share: every tier's answers to the operator's sample, labelled."""

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from types import FrameType
from typing import NoReturn

from cascadia_sglang.calibration.asking import Sampling, ask, ask_drafts, digest_of, draft_digest
from cascadia_sglang.calibration.labels import KINDS, make_labeler, needs_reference
from cascadia_sglang.calibration.pool import Pool
from cascadia_sglang.calibration.recording import missing, record
from cascadia_sglang.calibration.records import DraftRecord, Key, Record, RecordFile, pool_of
from cascadia_sglang.calibration.sample import Question, prompt_key, read_sample
from cascadia_sglang.calibration.server import recording_server
from cascadia_sglang.commands.outputs import make_output_folder
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.hub_check import check_hub_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Questions that every tier has answered, in one order.

    Attributes:
        records: of every tier, smallest first.
        pool: the same as arrays, with the labels.
    """

    records: list[list[Record]]
    pool: Pool


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """How a sample is asked, and how its answers are labelled."""
    parser.add_argument(
        "--label", default="exact", help=f"how answers are labelled: {KINDS}; default: exact"
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


def recorded(
    args: argparse.Namespace,
    config: CascadeConfig,
    check_keys: Callable[[Sequence[str]], None],
) -> Recorded:
    """Ask for what is missing in `args.out`, and label everything.

    Args:
        args: those of `add_recording_arguments`, with `data` and `out`.
        config: by `load_uncalibrated`.
        check_keys: of the prompt keys of the labelled questions; raises where those are too few,
            before any is asked.

    Raises:
        CascadiaError: one line; what was recorded stays and is used by the next run.
    """
    labeler = make_labeler(args.label)
    questions = _labelled(read_sample(args.data), args.label)
    keys = [prompt_key(question) for question in questions]
    check_keys(keys)
    repeats = len(keys) - len(set(keys))
    if repeats:
        _tell(f"{repeats} questions repeat an earlier prompt; equal prompts stay in one part")
    make_output_folder(args.out, "--out")
    with _ending_on_sigterm():
        asked, records, drafts = _answered(args, config, questions)
    answers = [[record.text for record in own] for own in records]
    right = labeler(asked, answers)
    return Recorded(records=records, pool=pool_of(asked, records, right, drafts))


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


def _answered(
    args: argparse.Namespace, config: CascadeConfig, questions: list[Question]
) -> tuple[list[Question], list[list[Record]], dict[tuple[str, str], DraftRecord] | None]:
    """Questions that every tier has answered, the answers of each, and what was made of drafts.

    Asks for what is missing.
    """
    sampling = Sampling(temperature=args.temperature, max_tokens=args.max_tokens)
    tiers = config.tiers
    reads_drafts = config.drafts().use != "off" and len(tiers) > 1
    with (
        RecordFile(args.out / "records.jsonl", Record) as file,
        RecordFile(args.out / "drafts.jsonl", DraftRecord) as draft_file,
    ):
        known, read = file.load(), draft_file.load() if reads_drafts else {}
        todo = [missing(questions, tier, sampling, known) for tier in tiers]
        unread = [
            question
            for question in questions
            if reads_drafts
            and (tiers[-1].name, question.id, draft_digest(question, tiers, sampling)) not in read
        ]
        if any(todo) or unread:
            check_hub_names(config.models())
            flags = shlex.split(args.server_flags)
            _tell(f"starting the server, its log is {args.out / 'server.log'}")
            limits = {"concurrency": args.concurrency, "timeout_s": args.answer_timeout}
            with recording_server(config, args.out, flags, args.start_timeout) as port:
                for tier, unanswered in zip(tiers, todo, strict=True):

                    def one(connection: HTTPConnection, question: Question) -> list[Record]:
                        return [ask(connection, question, tier, sampling)]  # noqa: B023  in turn

                    new = record(port, unanswered, one, file, name=tier.name, **limits)
                    known |= {told.key: told for told in new}

                def all_of(connection: HTTPConnection, question: Question) -> list[DraftRecord]:
                    return ask_drafts(connection, question, tiers, sampling)

                made = record(port, unread, all_of, draft_file, name="drafts", **limits)
                read |= {told.key: told for told in made}
    asked, records = _complete(config, questions, sampling, known)
    drafts = None
    if reads_drafts:
        drafts = {
            (tier.name, question.id): read[key]
            for index, tier in enumerate(tiers)
            for question in asked
            if (
                key := (
                    tier.name,
                    question.id,
                    draft_digest(question, tiers[: index + 1], sampling),
                )
            )
            in read
        }
    return asked, records, drafts


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
