"""Watches the worker processes and brings the server down in order."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from sglang.srt.managers.io_struct import ShutdownReq, sock_send
from sglang.srt.utils import kill_process_tree

from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.workers.pool import Worker, WorkerPool, WorkerState

logger = logging.getLogger(__name__)

DRAIN_S = 5.5
# Workers that have not ended by then are killed.
JOIN_S = 7.0
# Everything has ended by then, whatever hangs.
EXIT_S = 9.0


class Supervisor:
    """Notes lost workers, and turns SIGTERM and Ctrl-C into a drain."""

    def __init__(
        self, pool: WorkerPool, router: CascadeRouter, on_lost: Callable[[Worker], None]
    ) -> None:
        self._pool = pool
        self._router = router
        self._on_lost = on_lost
        self._stopping = asyncio.Event()
        self._watched: set[str] = set()

    def watch(self, worker: Worker) -> None:
        """Call back when a rank of this worker ends. Needs the running event loop."""
        if worker.worker_id in self._watched:
            return
        self._watched.add(worker.worker_id)
        loop = asyncio.get_running_loop()
        for process in worker.handle.processes:
            loop.add_reader(process.sentinel, self._process_ended, worker, process)

    def _process_ended(self, worker: Worker, process: Any) -> None:
        asyncio.get_running_loop().remove_reader(process.sentinel)
        if worker.state is WorkerState.DEAD:
            return
        was_serving = worker.state is WorkerState.READY
        self._pool.remove(worker)
        worker.handle.kill()
        if was_serving and not self._stopping.is_set():
            logger.error("worker %s ended unexpectedly (pid %s)", worker.worker_id, process.pid)
        self._on_lost(worker)

    async def run(self, manager: Any) -> None:
        """Watch until asked to stop, then drain and end the server within ten seconds."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        # SGLang brings everything down on SIGQUIT, which a failing worker sends; here its end is
        # seen by its sentinel.
        loop.add_signal_handler(signal.SIGQUIT, lambda: None)
        for worker in self._pool:
            self.watch(worker)
        await self._stopping.wait()
        await self._stop(manager)

    async def _stop(self, manager: Any) -> None:
        started = time.monotonic()
        _exit_at(started + EXIT_S)
        logger.info("stopping: %d requests on their way", self._router.active_count)
        self._router.admitting = False
        manager.gracefully_exit = True
        while self._router.active_count and time.monotonic() < started + DRAIN_S:
            await asyncio.sleep(0.05)
        self._router.end_all()
        if manager._subprocess_watchdog is not None:
            manager._subprocess_watchdog.stop()
        # Let the given-up requests answer before the server closes.
        await asyncio.sleep(0.2)
        for worker in list(self._pool):
            self._pool.drain(worker)
            sock_send(worker.socket, ShutdownReq())
        await asyncio.to_thread(self._join, started + JOIN_S)
        if manager._server_stop_hook is not None:
            manager._server_stop_hook()

    def _join(self, deadline: float) -> None:
        for worker in list(self._pool):
            if not worker.handle.join(deadline):
                worker.handle.kill()


def _exit_at(deadline: float) -> None:
    """End the process and its children at the deadline, should anything hold it until then."""

    def end() -> None:
        time.sleep(max(0.0, deadline - time.monotonic()))
        logger.warning("not everything ended in time; killing what is left")
        kill_process_tree(os.getpid(), include_parent=False)
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="cascadia-exit").start()
