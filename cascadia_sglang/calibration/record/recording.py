"""Sends a sample to every tier of a recording server; resumes an interrupted run.

One tier after the other is asked, each at the same concurrency, so that the times of their answers
can be compared.
"""

import http.client
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cascadia_sglang.calibration.record.questions import Sampling, digest_of
from cascadia_sglang.calibration.record.records import Key, Record, RecordFile, StoredRecord
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import CalibrationError, RefusedError
from cascadia_sglang.progress import Progress


def missing(
    questions: Sequence[Question],
    tier: TierConfig,
    sampling: Sampling,
    stored_records: dict[Key, Record],
    *,
    needs_hidden: bool = False,
) -> list[Question]:
    """Questions that this tier has not answered as it would be asked now.

    Args:
        needs_hidden: whether an answer without its hidden state counts as missing.
    """
    unanswered = []
    for question in questions:
        record = stored_records.get((tier.name, question.id, digest_of(question, tier, sampling)))
        if record is None or (needs_hidden and record.hidden is None):
            unanswered.append(question)
    return unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingServer:
    """A server on the loopback address, and how it is asked.

    Attributes:
        concurrency: questions that it answers at a time, at most.
        timeout_s: of one answer.
    """

    port: int
    concurrency: int
    timeout_s: float


def record(
    server: RecordingServer,
    questions: Sequence[Question],
    ask: Callable[[http.client.HTTPConnection, Question], list[StoredRecord]],
    file: RecordFile[StoredRecord],
    name: str,
) -> list[StoredRecord]:
    """Ask every question, write the records of each to the file, and return all of them.

    A question that the server refuses is named on stderr and skipped.

    Args:
        name: of what is asked, for the progress line.

    Raises:
        CalibrationError: if the server is lost, or an answer takes too long.
    """
    waiting: queue.SimpleQueue[Question] = queue.SimpleQueue()
    for question in questions:
        waiting.put(question)
    done: queue.SimpleQueue[list[StoredRecord] | Exception | None] = queue.SimpleQueue()
    stopping = threading.Event()
    width = min(server.concurrency, len(questions))

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=server.timeout_s)
        with suppress(queue.Empty):
            while not stopping.is_set():
                question = waiting.get_nowait()
                try:
                    done.put(ask(connection, question))
                except RefusedError as error:
                    done.put(error)
                except Exception as error:  # noqa: BLE001  it ends the run, in the main thread
                    done.put(error)
                    break
        connection.close()
        done.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(width)]
    for thread in threads:
        thread.start()
    try:
        return _collect(done, file, Progress(name, len(questions)), stopping, width)
    finally:
        stopping.set()


def _collect(
    done: "queue.SimpleQueue[list[StoredRecord] | Exception | None]",
    file: RecordFile[StoredRecord],
    tell: Progress,
    stopping: threading.Event,
    width: int,
) -> list[StoredRecord]:
    """Take what `width` threads bring until all of them have ended, also after one has failed."""
    records: list[StoredRecord] = []
    answered = 0
    lost: Exception | None = None
    while width:
        result = done.get()
        if result is None:
            width -= 1
        elif isinstance(result, list):
            for answer in result:
                file.append(answer)
            records += result
            answered += 1
            tell(answered)
        elif isinstance(result, RefusedError):
            tell.say(f"left out: {result}")
        else:
            lost = lost or result
            stopping.set()
    if lost is not None:
        tell.close()
        raise CalibrationError(f"the server was lost: {lost!r}") from lost
    tell(answered, last=True)
    return records
