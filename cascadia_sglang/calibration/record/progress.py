"""How far a run of questions is, and how long it still takes, on stderr.

A terminal gets a bar; a file or a pipe a line every few seconds.
"""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

_LINE_S = 5.0


class Progress:
    """Counts what is done of one run; used from one thread."""

    def __init__(self, name: str, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._count, self._clock = name, count, clock
        self._started = self._told = clock()
        self._bar = None
        if count and sys.stderr.isatty():
            self._bar = tqdm(total=count, desc=name, unit=" answers", file=sys.stderr)

    def __call__(self, done: int, last: bool = False) -> None:
        """Tell that so many are done; `last` ends the bar and is always told."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if last:
                self._bar.close()
            return
        now = self._clock()
        if not last and now - self._told < _LINE_S:
            return
        self._told = now
        rate = done / max(now - self._started, 1e-9)
        left = "" if last or not done else f", {duration((self._count - done) / rate)} left"
        self.say(f"{self._name}: {done} of {self._count} answers, {rate:.1f}/s{left}")

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar of a run that is not finished."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds for a reader: `45 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
