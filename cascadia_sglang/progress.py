"""How far long work is, and how long it still takes, on stderr.

A terminal gets a bar; a file or a pipe a line every few seconds.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

_LINE_S = 5.0
_LOOK_S = 0.5


class Progress:
    """Counts what is done of one run; used from one thread at a time.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(
        self,
        name: str,
        count: int,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "answers",
    ) -> None:
        self._name, self._count, self._clock, self._unit = name, count, clock, unit
        self._started = self._shown_s = clock()
        self._bar = None
        if count and sys.stderr.isatty():
            self._bar = tqdm(total=count, desc=name, unit=f" {unit}", file=sys.stderr)

    def __call__(self, done: int, last: bool = False) -> None:
        """Show that so many are done; `last` ends the bar and is always shown."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if last:
                self._bar.close()
            return
        now = self._clock()
        if not last and now - self._shown_s < _LINE_S:
            return
        self._shown_s = now
        rate = done / max(now - self._started, 1e-9)
        remaining = "" if last or not done else f", {duration((self._count - done) / rate)} left"
        self.say(f"{self._name}: {done} of {self._count} {self._unit}, {rate:.1f}/s{remaining}")

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


class StageProgress:
    """Progress of work in stages, each with a number of its own; a context.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stage: tuple[str, int] | None = None
        self._progress: Progress | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, name: str, done: int, count: int) -> None:
        """Show that so many of a stage's are done; from any thread."""
        with self._lock:
            if self._stage != (name, count):
                self.close()
                self._stage = (name, count)
                self._progress = Progress(name, count, unit=self._unit)
            if self._progress is not None:
                self._progress(done)

    def close(self) -> None:
        """End the bar of the last stage."""
        if self._progress is not None:
            self._progress.close()
        self._stage, self._progress = None, None


@contextlib.contextmanager
def elapsed(name: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show that a block runs, and for how long, where nothing knows how much is left.

    A block that ends within a few seconds says nothing to a file or a pipe.
    """
    ended, started = threading.Event(), clock()
    bar = None
    if sys.stderr.isatty():
        form = "{desc}: {elapsed}"
        bar = tqdm(desc=name, file=sys.stderr, bar_format=form, leave=False)

    def show() -> None:
        shown_s = started
        while not ended.wait(_LOOK_S):
            if bar is not None:
                bar.refresh()
            elif clock() - shown_s >= _LINE_S:
                shown_s = clock()
                line = f"{name}: {duration(shown_s - started)} so far"
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if bar is not None:
            bar.close()


def duration(seconds: float) -> str:
    """Seconds for a reader: `45 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
