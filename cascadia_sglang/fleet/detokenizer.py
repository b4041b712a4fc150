"""The one detokenizer of all tiers: started, watched, replaced."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_sglang.launch.fork_server import ensure_fork_server
from cascadia_sglang.processes.liveness import Pulse

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess


class Detokenizer:
    """Owns the detokenizer's process.

    Every detokenizer listens at the same address, so the workers find the next one by themselves.
    What the lost one knew of running answers is gone with it: they have to be run again.
    """

    def __init__(self) -> None:
        self._start: Callable[[Connection], BaseProcess] | None = None
        self._process: BaseProcess | None = None
        self._pulse: Pulse | None = None

    @property
    def process(self) -> BaseProcess:
        """The one that runs, or ran last; there is none before `launch`."""
        assert self._process is not None
        return self._process

    def launch(self, start: Callable[[Connection], BaseProcess]) -> None:
        """Start the first; `start` takes the pipe to beat on and returns the process."""
        self._start = start
        self.restart()

    def restart(self) -> None:
        """End the process, should it still be there, and start the next."""
        assert self._start is not None
        if self._pulse is not None:
            self._pulse.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if multiprocessing.get_start_method() == "forkserver":
            ensure_fork_server()
        self._pulse = Pulse()
        self._process = self._start(self._pulse.beats_in)
        self._pulse.hand_over()

    def is_stalled(self) -> bool:
        """Look for signs of life; whether they have been missing for too long."""
        assert self._pulse is not None
        pid = self.process.pid
        return pid is not None and bool(self._pulse.look([pid]))
