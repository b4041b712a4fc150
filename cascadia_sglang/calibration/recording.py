"""Takes a sample through every tier of a recording server; goes on where an earlier run stopped.

One tier after the other is asked, each at the same concurrency, so that the times of their answers
can be compared.
"""

import http.client
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from cascadia_sglang.calibration.asking import RefusedError, Sampling, ask, digest_of
from cascadia_sglang.calibration.records import Key, Record, RecordFile
from cascadia_sglang.calibration.sample import Question
from cascadia_sglang.config import TierConfig
from cascadia_sglang.errors import CalibrationError

_PROGRESS_S = 5.0


def missing(
    questions: Sequence[Question],
    tier: TierConfig,
    sampling: Sampling,
    known: dict[Key, Record],
) -> list[Question]:
    """Questions that this tier has not answered as it would be asked now."""
    return [q for q in questions if (tier.name, q.id, digest_of(q, tier, sampling)) not in known]


def record_tier(
    port: int,
    questions: Sequence[Question],
    tier: TierConfig,
    sampling: Sampling,
    file: RecordFile,
    *,
    concurrency: int,
    timeout_s: float,
) -> list[Record]:
    """Ask every question, write each answer down as it comes, and give them back.

    A question that the server refuses is named on stderr and left out.

    Raises:
        CalibrationError: if the server is lost, or a question takes longer than `timeout_s`.
    """
    waiting: queue.SimpleQueue[Question] = queue.SimpleQueue()
    for question in questions:
        waiting.put(question)
    done: queue.SimpleQueue[Record | Exception | None] = queue.SimpleQueue()
    stopping = threading.Event()
    width = min(concurrency, len(questions))

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        with suppress(queue.Empty):
            while not stopping.is_set():
                question = waiting.get_nowait()
                try:
                    done.put(ask(connection, question, tier, sampling))
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
        return _collect(done, file, Progress(tier.name, len(questions)), stopping, width)
    finally:
        stopping.set()


def _collect(
    done: "queue.SimpleQueue[Record | Exception | None]",
    file: RecordFile,
    tell: "Progress",
    stopping: threading.Event,
    width: int,
) -> list[Record]:
    """Take what `width` threads bring until all of them have ended, also after one has failed."""
    records: list[Record] = []
    lost: Exception | None = None
    while width:
        one = done.get()
        if one is None:
            width -= 1
        elif isinstance(one, Record):
            file.append(one)
            records.append(one)
            tell(len(records))
        elif isinstance(one, RefusedError):
            print(f"left out: {one}", file=sys.stderr, flush=True)
        else:
            lost = lost or one
            stopping.set()
    if lost is not None:
        raise CalibrationError(f"the server was lost: {lost!r}") from lost
    tell(len(records), last=True)
    return records


class Progress:
    """Says on stderr, every few seconds, how far a tier is."""

    def __init__(self, name: str, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._count, self._clock = name, count, clock
        self._started = self._told = clock()

    def __call__(self, done: int, last: bool = False) -> None:
        now = self._clock()
        if not last and now - self._told < _PROGRESS_S:
            return
        self._told = now
        rate = done / max(now - self._started, 1e-9)
        print(
            f"{self._name}: {done} of {self._count} answers, {rate:.1f}/s",
            file=sys.stderr,
            flush=True,
        )
