"""Watches the nodes, the workers and the detokenizers, and answers the stop signals."""

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.fleet.detokenizer import Detokenizer, Detokenizers
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.processes.liveness import LOOK_S
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.server.shutdown import stop_server

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

logger = logging.getLogger(__name__)


class Supervisor:
    """Notes what has ended or hangs, and turns SIGTERM and Ctrl-C into a drain."""

    def __init__(self, fleet: Fleet, detokenizers: Detokenizers, router: CascadeRouter) -> None:
        self._fleet = fleet
        self._detokenizers = detokenizers
        self._router = router
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._starting: dict[Detokenizer, asyncio.Task[None]] = {}

    async def run(self, manager: "TokenizerManager") -> None:
        """Watch until asked to stop, then drain and end the server within ten seconds."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        # SGLang brings everything down on SIGQUIT, which a failing worker sends; here its end is
        # seen by itself.
        loop.add_signal_handler(signal.SIGQUIT, lambda: None)
        watch = asyncio.create_task(self._keep_watching())
        await self._stopping.wait()
        watch.cancel()
        for task in self._starting.values():
            task.cancel()
        self._fleet.stop()
        await stop_server(manager, self._fleet, self._router)

    async def _keep_watching(self) -> None:
        """Watch on, whatever goes wrong with one look: unwatched, a loss would be a hang."""
        while True:
            try:
                await self._watch()
            except Exception:
                logger.exception("supervision failed and goes on")
                await asyncio.sleep(LOOK_S)

    async def _watch(self) -> None:
        """Look at all of them: at once when one ends, and once a second for signs of life."""
        loop = asyncio.get_running_loop()
        next_look = loop.time()
        while True:
            # First, so that the ends of a lost node's workers are known for what they are.
            self._fleet.lost_nodes.check()
            self._take_ended()
            if loop.time() >= next_look:
                next_look = loop.time() + LOOK_S
                self._take_stalled()
            for worker in self._fleet.pool:
                worker.handle.on_end(self._ended.set)
            for detokenizer in self._watched():
                detokenizer.on_end(self._ended.set)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._ended.wait()
            self._ended.clear()

    def _take_ended(self) -> None:
        for worker in list(self._fleet.pool):
            if not worker.handle.is_alive():
                self._fleet.lose(worker, "its process ended", worker.handle.end())
        for detokenizer in self._watched():
            if not detokenizer.process.is_alive():
                self._replace(detokenizer, "its process ended")

    def _take_stalled(self) -> None:
        for worker in list(self._fleet.pool):
            end = worker.handle.stall()
            if end is not None:
                self._fleet.lose(worker, "it gives no sign of life", end)
        for detokenizer in self._watched():
            if detokenizer.is_stalled():
                self._replace(detokenizer, "it gives no sign of life")

    def _watched(self) -> list[Detokenizer]:
        """The detokenizers that run, or should."""
        return [detok for detok in self._detokenizers if detok not in self._starting]

    def _replace(self, detokenizer: Detokenizer, why: str) -> None:
        logger.error("the %s was lost: %s", detokenizer.name, why)
        detokenizer.end()
        self._starting[detokenizer] = asyncio.create_task(self._start_again(detokenizer))
        self._fleet.lose_attempts(detokenizer.tiers)

    async def _start_again(self, detokenizer: Detokenizer) -> None:
        """Start the next, and try again until it is there: without it no answer is read."""
        try:
            while True:
                try:
                    return await detokenizer.start_again()
                except (WorkerError, OSError, EOFError) as error:
                    logger.error("the %s did not start: %r", detokenizer.name, error)
                    await asyncio.sleep(LOOK_S)
        finally:
            del self._starting[detokenizer]
