"""Tells the event loop when a process of this host ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class ProcessEnds:
    """Calls back once for each watched process that has ended. For use on one event loop."""

    def __init__(self) -> None:
        # By sentinel; held so that no descriptor is closed, and its number reused, while watched.
        self._watched: dict[int, BaseProcess] = {}

    def watch(self, processes: Sequence[BaseProcess], wake: Callable[[], None]) -> None:
        """Call this for each of them from now on; it takes an earlier one's place."""
        loop = asyncio.get_running_loop()
        for process in processes:
            self._watched[process.sentinel] = process
            loop.add_reader(process.sentinel, self._tell, process.sentinel, wake)

    def close(self) -> None:
        """Watch none any more."""
        for sentinel in list(self._watched):
            self._forget(sentinel)

    def _tell(self, sentinel: int, wake: Callable[[], None]) -> None:
        # The sentinel of an ended process stays readable.
        self._forget(sentinel)
        wake()

    def _forget(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        del self._watched[sentinel]
