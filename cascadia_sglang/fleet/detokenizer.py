"""The detokenizers, one for each tokenizer of the tiers: started, watched, replaced."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.launch.fork_server import await_fork_server, ensure_fork_server
from cascadia_sglang.processes.liveness import Pulse
from cascadia_sglang.processes.process_ends import ProcessEnds

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess


class Detokenizers:
    """The detokenizers of a server, in the order of its tokenizers.

    The first listens where SGLang wants it; the others have addresses of their own.
    """

    def __init__(self, voices: Voices) -> None:
        self._voices = voices
        self._all: list[Detokenizer] = []
        if len(voices.leaders) > 1:
            # Readable by this user alone: answers pass through.
            self._sockets = tempfile.TemporaryDirectory(prefix="cascadia-detokenizers-")
        for voice in voices.leaders:
            address = f"ipc://{self._sockets.name}/{voice.tokenizer}" if voice.number else None
            tiers = voices.tiers_of_tokenizer(voice.tokenizer)
            self._all.append(Detokenizer(voice, tiers, address))

    def __iter__(self) -> Iterator[Detokenizer]:
        return iter(self._all)

    def address(self, tier_index: int) -> str | None:
        """Where the workers of a tier send their outputs; None for where SGLang wants them."""
        return self._all[self._voices.of_tier(tier_index).tokenizer].address

    def listen_at(self, take: Callable[[], str]) -> None:
        """Have each but the first listen at an address that is taken for it."""
        for detokenizer in self._all:
            if detokenizer.address is not None:
                detokenizer.address = take()


class Detokenizer:
    """Owns the process of one detokenizer.

    Every detokenizer listens at the same address, so the workers find the next one by themselves.
    What the lost one knew of running answers is gone with it: they have to be run again.
    """

    def __init__(self, voice: Voice, tiers: frozenset[int], address: str | None) -> None:
        """`voice` is the first of its tokenizer, `tiers` are those whose outputs it reads.

        `address` is where it listens; None for where SGLang wants it.
        """
        self.voice = voice
        self.tiers = tiers
        self.address = address
        self._start: Callable[[Connection], BaseProcess] | None = None
        self._process: BaseProcess | None = None
        self._pulse: Pulse | None = None
        self._ends = ProcessEnds()

    @property
    def name(self) -> str:
        """By which the log names it."""
        return "detokenizer" if self.address is None else f"detokenizer-{self.voice.name}"

    @property
    def process(self) -> BaseProcess:
        """The one that runs, or ran last; there is none before `launch`."""
        assert self._process is not None
        return self._process

    def launch(self, start: Callable[[Connection], BaseProcess]) -> None:
        """Start the first; `start` takes the pipe to beat on and returns the process."""
        self._start = start
        self._begin()

    def end(self) -> None:
        """End the process, should it still be there."""
        self._ends.close()
        if self._pulse is not None:
            self._pulse.close()
        self.process.kill()
        self.process.join()

    async def start_again(self) -> None:
        """Start the next, on the event loop of the main thread.

        Raises:
            WorkerError: if nothing can be forked.
        """
        await await_fork_server()
        self._begin()

    def _begin(self) -> None:
        assert self._start is not None
        if multiprocessing.get_start_method() == "forkserver":
            ensure_fork_server()
        self._pulse = Pulse()
        self._process = self._start(self._pulse.beats_in)
        self._pulse.hand_over()

    def on_end(self, wake: Callable[[], None]) -> None:
        """Have this called on the event loop when the process ends; an earlier one no more."""
        self._ends.watch([self.process], wake)

    def is_stalled(self) -> bool:
        """Look for signs of life; whether they have been missing for too long."""
        assert self._pulse is not None
        pid = self.process.pid
        return pid is not None and bool(self._pulse.find_stalled([pid]))
