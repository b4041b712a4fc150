"""The one detokenizer of all tiers: started, watched, replaced."""

import multiprocessing
from collections.abc import Callable
from typing import Any

from cascadia_sglang.workers.fork_server import ensure_fork_server
from cascadia_sglang.workers.heart import Pulse


class Detokenizer:
    """Owns the detokenizer's process.

    Every detokenizer listens at the same address, so the workers find the next one by themselves.
    What the lost one knew of running answers is gone with it: they have to be run again.
    """

    def __init__(self) -> None:
        self._start: Callable[[Any], Any] | None = None
        self.process: Any = None
        self._pulse: Pulse | None = None

    def launch(self, start: Callable[[Any], Any]) -> None:
        """Start the first; `start` takes the pipe to beat on and returns the process."""
        self._start = start
        self.restart()

    def restart(self) -> None:
        """End the process, should it still be there, and start the next."""
        assert self._start is not None
        if self._pulse is not None:
            self._pulse.close()
        if self.process is not None:
            self.process.kill()
            self.process.join()
        if multiprocessing.get_start_method() == "forkserver":
            ensure_fork_server()
        self._pulse = Pulse()
        self.process = self._start(self._pulse.beats_in)
        self._pulse.hand_over()

    def is_stalled(self) -> bool:
        """Look for signs of life; whether they have been missing for too long."""
        assert self._pulse is not None
        return bool(self._pulse.look([self.process.pid]))
