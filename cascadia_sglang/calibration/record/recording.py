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
from cascadia_sglang.calibration.record.records import Kept, Key, Record, RecordFile
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import CalibrationError, RefusedError
from cascadia_sglang.progress import Progress


def missing(
    questions: Sequence[Question],
    tier: TierConfig,
    sampling: Sampling,
    known: dict[Key, Record],
    *,
    needs_hidden: bool = False,
) -> list[Question]:
    """Questions that this tier has not answered as it would be asked now.

    Args:
        needs_hidden: whether an answer without its hidden state counts as missing.
    """
    found = []
    for question in questions:
        record = known.get((tier.name, question.id, digest_of(question, tier, sampling)))
        if record is None or (needs_hidden and record.hidden is None):
            found.append(question)
    return found


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
    ask: Callable[[http.client.HTTPConnection, Question], list[Kept]],
    file: RecordFile[Kept],
    name: str,
) -> list[Kept]:
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
    done: queue.SimpleQueue[list[Kept] | Exception | None] = queue.SimpleQueue()
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
    done: "queue.SimpleQueue[list[Kept] | Exception | None]",
    file: RecordFile[Kept],
    tell: Progress,
    stopping: threading.Event,
    width: int,
) -> list[Kept]:
    """Take what `width` threads bring until all of them have ended, also after one has failed."""
    records: list[Kept] = []
    asked = 0
    lost: Exception | None = None
    while width:
        one = done.get()
        if one is None:
            width -= 1
        elif isinstance(one, list):
            for told in one:
                file.append(told)
            records += one
            asked += 1
            tell(asked)
        elif isinstance(one, RefusedError):
            tell.say(f"left out: {one}")
        else:
            lost = lost or one
            stopping.set()
    if lost is not None:
        tell.close()
        raise CalibrationError(f"the server was lost: {lost!r}") from lost
    tell(asked, last=True)
    return records
