"""The agent of a node: starts a server's workers there, watches them, and ends them."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cascadia_sglang.cluster.wire import NodeFacts, NodeOrder, ReadyWorker, Wanted, WorkerOrder
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import WorkerHandle
from cascadia_sglang.processes.liveness import LOOK_S

logger = logging.getLogger(__name__)

# How late the end of a worker may be noticed.
_TICK_S = 0.1
# Killed workers are gone by then.
_END_S = 10.0


class NodeLauncher(Protocol):
    """Starts workers on this node."""

    def start(self, order: WorkerOrder) -> WorkerHandle:
        """Start a worker and return at once; WorkerError if it cannot be started."""
        ...

    def end(self) -> None:
        """Remove what the workers leave behind."""
        ...


OpenLauncher = Callable[[NodeOrder], tuple[NodeLauncher, NodeFacts]]


@dataclass(slots=True)
class _Held:
    """A worker of this node, the version of the list that had it first, and how it ended."""

    handle: WorkerHandle
    version: int
    end: WorkerEnd | None = None


class NodeAgent:
    """Owns the workers of one server on this node. Any thread may call its methods."""

    def __init__(
        self,
        open_launcher: OpenLauncher,
        lease_s: float,
        end_process: Callable[[], Any] = lambda: os._exit(1),
    ) -> None:
        """Without a `check` for `lease_s`, it ends the workers and calls `end_process`."""
        self._open_launcher = open_launcher
        self._lease_s = lease_s
        self._end_process = end_process
        self._launcher: NodeLauncher | None = None
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._workers: dict[str, _Held] = {}
        self._wanted = Wanted(version=-1, worker_ids=frozenset())
        self._looked_s = time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="cascadia-agent").start()

    def open(self, order: NodeOrder) -> NodeFacts:
        """Begin anew: end every worker, and be ready to start others.

        Raises:
            CascadiaError: if the node cannot serve, or a worker does not end.
        """
        with self._starting:
            self._end_all()
            if self._launcher is not None:
                self._launcher.end()
            self._launcher, facts = self._open_launcher(order)
        return facts

    def start(self, order: WorkerOrder) -> ReadyWorker:
        """Start a worker and wait until it is ready.

        Raises:
            WorkerError: if it does not start, or is not wanted any more.
        """
        # SGLang's context is one for the process.
        with self._starting:
            if self._launcher is None:
                raise WorkerError("the agent was not opened")
            self._check_wanted(order)
            handle = self._launcher.start(order)
            with self._changed:
                self._workers[order.worker_id] = _Held(handle, order.version)
        handle.wait_for_ready()
        return ReadyWorker(
            limits=handle.limits,
            phases=dict(handle.phases),
            page_tokens=handle.page_tokens,
            capacity_tokens=handle.capacity_tokens,
            devices=handle.devices,
            device_share=handle.device_share,
            scheduler_infos=[dict(info) for info in handle.scheduler_infos],
        )

    def check(self, target: Wanted | None, seen: dict[str, str], wait_s: float) -> dict[str, str]:
        """How the workers ended that have ended; at once where others have than are `seen`.

        Args:
            target: the workers that are to be here; None where nothing is said.
            wait_s: how long it may take.
        """
        if target is not None:
            self.keep(target)
        self._looked_s = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._ended() != seen, wait_s)
            return self._ended()

    def keep(self, target: Wanted) -> None:
        """End the workers that are not wanted any more; a list older than the last is ignored."""
        with self._changed:
            if target.version > self._wanted.version:
                self._wanted = target

    def _ended(self) -> dict[str, str]:
        return {
            worker_id: held.end.value
            for worker_id, held in self._workers.items()
            if held.end is not None
        }

    def _check_wanted(self, order: WorkerOrder) -> None:
        with self._changed:
            if self._is_unwanted(order.worker_id, order.version):
                raise WorkerError(f"worker {order.worker_id} is not wanted any more")

    def _is_unwanted(self, worker_id: str, version: int) -> bool:
        return version <= self._wanted.version and worker_id not in self._wanted.worker_ids

    def _watch(self) -> None:
        next_look = time.monotonic()
        while True:
            time.sleep(_TICK_S)
            is_look = time.monotonic() >= next_look
            if is_look:
                next_look = time.monotonic() + LOOK_S
            # One that cannot be watched must not keep the others from it.
            try:
                self._check_workers(is_look=is_look)
            except Exception:
                logger.exception("watching the workers failed and goes on")
            if time.monotonic() - self._looked_s > self._lease_s:
                logger.error("no word of the server for %g s: the agent ends", self._lease_s)
                with contextlib.suppress(WorkerError):
                    self._end_all()
                self._end_process()
                return

    def _check_workers(self, *, is_look: bool) -> None:
        with self._changed:
            held_workers = list(self._workers.items())
            unwanted = [w for w, held in held_workers if self._is_unwanted(w, held.version)]
        for worker_id, held in held_workers:
            if worker_id in unwanted:
                self._end_one(worker_id, held)
            elif held.end is None:
                end = held.handle.stall() if is_look else None
                if not held.handle.is_alive():
                    end = held.handle.end()
                if end is not None:
                    with self._changed:
                        held.end = end
                        self._changed.notify_all()

    def _end_one(self, worker_id: str, held: _Held) -> None:
        held.handle.kill()
        if not held.handle.join(time.monotonic()):
            return
        with self._changed:
            # Another thread may have been quicker.
            if self._workers.pop(worker_id, None) is not None:
                held.handle.close()
            self._changed.notify_all()

    def _end_all(self) -> None:
        """Raises WorkerError if a worker does not end."""
        deadline = time.monotonic() + _END_S
        while True:
            with self._changed:
                held_workers = list(self._workers.items())
            if not held_workers:
                return
            for worker_id, held in held_workers:
                self._end_one(worker_id, held)
            if time.monotonic() > deadline:
                raise WorkerError(f"{len(held_workers)} earlier workers did not end")
            time.sleep(_TICK_S / 2)
