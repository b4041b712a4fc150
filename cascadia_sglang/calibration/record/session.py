"""Records every tier's answers to the operator's sample, and labels them."""

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from cascadia_sglang.calibration.record.labels import DEFAULT, Labeler
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.record.questions import (
    Sampling,
    ask,
    ask_drafts,
    digest_of,
    draft_digest,
)
from cascadia_sglang.calibration.record.recording import RecordingServer, missing, record
from cascadia_sglang.calibration.record.records import DraftRecord, Key, Record, RecordFile, pool_of
from cascadia_sglang.calibration.record.sample import Question, prompt_key, read_sample
from cascadia_sglang.calibration.record.server import recording_server
from cascadia_sglang.config.probes import hidden_recording_tiers
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.files.outputs import make_output_folder
from cascadia_sglang.models.hub_check import check_hub_names


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSample:
    """Questions that every tier has answered, in one order.

    Attributes:
        records: of every tier, smallest first.
        pool: the same as arrays, with the labels.
    """

    records: list[list[Record]]
    pool: Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSettings:
    """How a sample is asked, and how its answers are labelled.

    Attributes:
        data: file of the sample.
        out: folder that keeps the records.
        label: one of `labels.KINDS`, for questions without one of their own.
        max_tokens: of an answer.
        server_flags: SGLang's, for every tier.
        start_timeout_s, answer_timeout_s: of the server's start and of one answer.
    """

    data: Path
    out: Path
    label: str = DEFAULT
    temperature: float = 0.0
    max_tokens: int = 512
    concurrency: int = 32
    server_flags: Sequence[str] = ()
    start_timeout_s: float = 900.0
    answer_timeout_s: float = 600.0


def recorded(
    settings: RecordingSettings,
    config: CascadeConfig,
    check_keys: Callable[[Sequence[str]], None],
) -> RecordedSample:
    """Ask what the folder does not hold yet, and label every answer.

    Args:
        config: by `load_uncalibrated`.
        check_keys: gets the prompt keys of the labelled questions before any is asked; raises
            where those are too few.

    Raises:
        CascadiaError: one line; the records stay, and the next run uses them.
    """
    labeler = Labeler(settings.label)
    questions = _labelled(read_sample(settings.data), labeler)
    kinds = labeler.check(questions)
    keys = [prompt_key(question) for question in questions]
    check_keys(keys)
    _tell("labels: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    repeats = len(keys) - len(set(keys))
    if repeats:
        _tell(f"{repeats} questions repeat an earlier prompt; equal prompts stay in one part")
    make_output_folder(settings.out, "--out")
    with _ending_on_sigterm():
        answered, records, drafts = _answered(settings, config, questions)
    answers = [[record.text for record in tier_records] for tier_records in records]
    right = labeler(answered, answers)
    return RecordedSample(records=records, pool=pool_of(answered, records, right, drafts))


def _labelled(questions: list[Question], labeler: Labeler) -> list[Question]:
    """Those that can be labelled; how many cannot is said on stderr."""
    labelled = [
        question
        for question in questions
        if question.reference is not None or not labeler.needs_reference(question)
    ]
    if len(labelled) < len(questions):
        _tell(f"{len(questions) - len(labelled)} questions without a reference are left out")
    if not labelled:
        kind = labeler.kind_of(questions[0])
        raise CalibrationError(
            f"no question has a reference, label {kind} needs one; --label agreement needs none"
        )
    return labelled


def _answered(
    settings: RecordingSettings, config: CascadeConfig, questions: list[Question]
) -> tuple[list[Question], list[list[Record]], dict[tuple[str, str], DraftRecord] | None]:
    """Questions that every tier has answered, the answers of each, and its reading of drafts.

    Asks what the folder does not hold yet.
    """
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens)
    tiers, hidden = config.tiers, hidden_recording_tiers(config)
    reads_drafts = config.drafts().use != "off" and len(tiers) > 1
    with (
        RecordFile(settings.out / "records.jsonl", Record) as file,
        RecordFile(settings.out / "drafts.jsonl", DraftRecord) as draft_file,
    ):
        stored_records, read = file.load(), draft_file.load() if reads_drafts else {}
        unanswered = [
            missing(questions, tier, sampling, stored_records, needs_hidden=index in hidden)
            for index, tier in enumerate(tiers)
        ]
        unread = [
            question
            for question in questions
            if reads_drafts
            and (tiers[-1].name, question.id, draft_digest(question, tiers, sampling)) not in read
        ]
        if any(unanswered) or unread:
            check_hub_names(config.models())
            with _server(settings, config) as server:
                for tier, missing_questions in zip(tiers, unanswered, strict=True):
                    ask_tier = functools.partial(_ask_tier, tier=tier, sampling=sampling)
                    new = record(server, missing_questions, ask_tier, file, tier.name)
                    stored_records |= {answer.key: answer for answer in new}
                ask_all = functools.partial(ask_drafts, tiers=tiers, sampling=sampling)
                made = record(server, unread, ask_all, draft_file, "drafts")
                read |= {reading.key: reading for reading in made}
    answered, records = _complete(config, questions, sampling, stored_records)
    # The folder may hold hidden states of an earlier run, which this one does not ask for.
    records = [
        tier_records
        if index in hidden
        else [msgspec.structs.replace(answer, hidden=None) for answer in tier_records]
        for index, tier_records in enumerate(records)
    ]
    return answered, records, _drafts(config, answered, sampling, read) if reads_drafts else None


@contextlib.contextmanager
def _server(settings: RecordingSettings, config: CascadeConfig) -> Iterator[RecordingServer]:
    _tell(f"starting the server, its log is {settings.out / 'server.log'}")
    start_s = settings.start_timeout_s
    with recording_server(config, settings.out, settings.server_flags, start_s) as port:
        yield RecordingServer(
            port=port, concurrency=settings.concurrency, timeout_s=settings.answer_timeout_s
        )


def _ask_tier(
    connection: HTTPConnection, question: Question, tier: TierConfig, sampling: Sampling
) -> list[Record]:
    return [ask(connection, question, tier, sampling)]


def _drafts(
    config: CascadeConfig,
    questions: Sequence[Question],
    sampling: Sampling,
    read: Mapping[Key, DraftRecord],
) -> dict[tuple[str, str], DraftRecord]:
    """How each tier read the draft of the tier before, by the tier's name and the question's id."""
    readings = {}
    for index, tier in enumerate(config.tiers):
        for question in questions:
            digest = draft_digest(question, config.tiers[: index + 1], sampling)
            key = (tier.name, question.id, digest)
            if key in read:
                readings[tier.name, question.id] = read[key]
    return readings


def _complete(
    config: CascadeConfig,
    questions: list[Question],
    sampling: Sampling,
    stored_records: dict[Key, Record],
) -> tuple[list[Question], list[list[Record]]]:
    keys = [
        [(tier.name, question.id, digest_of(question, tier, sampling)) for tier in config.tiers]
        for question in questions
    ]
    whole = [
        row for row, row_keys in enumerate(keys) if all(key in stored_records for key in row_keys)
    ]
    if not whole:
        raise CalibrationError("no question was answered by every tier")
    records = [
        [stored_records[keys[row][tier]] for row in whole] for tier in range(len(config.tiers))
    ]
    return [questions[row] for row in whole], records


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the server is stopped.

    Only the main thread may handle signals. In another thread, SIGTERM keeps its handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

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
