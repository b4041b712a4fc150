"""A limit in time on the search for a client's `stop_regex`, inside the worker.

Python's `re` backtracks, so a pattern may take a time that doubles with every letter. The search
runs in the scheduler's own loop, before the next token of every request. `re` looks for signals
while it searches; a timer that raises ends it there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_sglang.sglang_state import SPENT_SEARCH_S

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req

# A usual search takes microseconds.
LONGEST_SEARCH_S = 0.1
# What all searches of one request that were slow may take together.
SLOW_SEARCH_S = 0.005
ALL_SLOW_SEARCHES_S = 0.5


class _TimeIsUpError(Exception):
    """The timer's, where a search still ran."""


class SearchLimit:
    """Runs searches with a limit in CPU time. One in a process; for its main thread alone."""

    def __init__(self) -> None:
        self._is_searching = False
        self._is_installed = False

    def run(self, request: Req, search: Callable[[], bool]) -> bool | None:
        """What the search returns; None where it was ended, being too slow for too long.

        Args:
            request: keeps how long its slow searches took so far.
        """
        if not self._is_installed:
            signal.signal(signal.SIGVTALRM, self._raise_if_searching)
            self._is_installed = True
        spent_s = SPENT_SEARCH_S.get(request) or 0.0
        left_s = min(LONGEST_SEARCH_S, ALL_SLOW_SEARCHES_S - spent_s)
        if left_s <= 0:
            return None
        began = time.thread_time()
        try:
            self._is_searching = True
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, left_s)
                match = search()
            finally:
                self._is_searching = False
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _TimeIsUpError:
            return None
        taken_s = time.thread_time() - began
        if taken_s > SLOW_SEARCH_S:
            SPENT_SEARCH_S.set(request, spent_s + taken_s)
        return match

    def _raise_if_searching(self, *_: object) -> None:
        if self._is_searching:
            self._is_searching = False
            raise _TimeIsUpError
