"""Brings the server down in order, within ten seconds."""

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.managers.io_struct import ShutdownReq, sock_send
from sglang.srt.utils import kill_process_tree

from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.pool.pool import Worker
from cascadia_sglang.router.cascade import CascadeRouter

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

logger = logging.getLogger(__name__)

DRAIN_S = 5.5
# Workers that have not ended by then are killed.
JOIN_S = 7.0
# Everything has ended by then, whatever hangs.
EXIT_S = 9.0


async def stop_server(manager: "TokenizerManager", fleet: Fleet, router: CascadeRouter) -> None:
    """Let requests end for a while, give up the rest, end the workers, end the server."""
    started = time.monotonic()
    _exit_at(started + EXIT_S)
    logger.info("stopping: %d requests on their way", router.active_count)
    router.stop_admitting()
    manager.gracefully_exit = True
    while router.active_count and time.monotonic() < started + DRAIN_S:
        await asyncio.sleep(0.05)
    router.end_all()
    if manager._subprocess_watchdog is not None:
        manager._subprocess_watchdog.stop()
    # Let the given-up requests answer before the server closes.
    await asyncio.sleep(0.2)
    fleet.drain_all()
    workers = list(fleet.pool)
    for worker in workers:
        sock_send(worker.socket, ShutdownReq())
    await asyncio.to_thread(_join, workers, started + JOIN_S)
    fleet.end()
    atexit.register(_end_without_finalizing)
    if manager._server_stop_hook is not None:
        manager._server_stop_hook()


def _join(workers: Sequence[Worker], deadline: float) -> None:
    for worker in workers:
        if not worker.handle.join(deadline):
            worker.handle.kill()


def _end_without_finalizing() -> None:
    """Run what is to be run at the end, then end without taking the interpreter apart.

    Taking it apart runs destructors all over the libraries, which touches pages nobody needed
    before; where they had to be read from a slow disk it was seen to take more than ten seconds.
    And no thread of Python runs meanwhile, so that the deadline would not be kept.
    """
    atexit.unregister(_end_without_finalizing)
    # Registered last, this ran first: the others follow here.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _exit_at(deadline: float) -> None:
    """End the process and its children at the deadline, should anything hold it until then."""

    def end() -> None:
        time.sleep(max(0.0, deadline - time.monotonic()))
        logger.warning("not everything ended in time; killing what is left")
        kill_process_tree(os.getpid(), include_parent=False)
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="cascadia-exit").start()
