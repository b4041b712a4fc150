"""Reports to the main process why a worker did not start.

SGLang answers an exception of a starting scheduler with a traceback and a signal to its parent, and
drops what the scheduler says of it. So the reason passes its `except Exception` and travels in
place of the message that the worker is ready.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from cascadia_sglang.errors import WorkerError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class UnfitWorkerError(BaseException):
    """A worker that cannot serve; its text is one line. No `Exception`: SGLang would take that."""


class FailedStart:
    """The message in place of the one that a worker is ready; whoever reads it is told why not."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getitem__(self, key: str) -> NoReturn:
        raise WorkerError(self._reason)


@contextlib.contextmanager
def reported(pipe: Connection) -> Iterator[None]:
    """Send why a worker is unfit through the pipe on which it is awaited, and end the process."""
    try:
        yield
    except UnfitWorkerError as error:
        pipe.send(FailedStart(str(error)))
        os._exit(2)  # nothing of the device is waited for
