"""Begins workers' processes, one at a time on a device that they share.

A worker measures what is free on its device before and after it loads its model. So the next one
begins once the one before has its key-value pool.
"""

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import zmq
from sglang.srt.utils.network import get_zmq_socket

from cascadia_sglang.capacity.devices import Device
from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.fleet.launcher_protocol import Launcher, WorkerToStart
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager


class Starts:
    """Starts workers and opens their sockets; they do not serve yet."""

    def __init__(self, pool: WritablePool, specs: Sequence[PoolSpec]) -> None:
        self.launcher: Launcher[Any]  # set by the fleet, before anything is started
        self._pool = pool
        self._specs = specs
        self._numbers = itertools.count()
        self._manager: TokenizerManager | None = None
        self._turns = Turns()
        self._waiting: list[RunningReplica] = []

    def spec_of(self, replica: RunningReplica) -> PoolSpec:
        """The pool that a replica belongs to."""
        return next(spec for spec in self._specs if spec.name == replica.pool)

    def launch(self) -> list[Worker]:
        """Start the server's first workers; of those that share a device one only.

        Raises:
            WorkerError: if one cannot be started.
        """
        self._waiting = list(self.launcher.replicas)
        return self.further()

    def further(self) -> list[Worker]:
        """Start those of the first workers whose devices have become free of other starts."""
        starting = [w.handle.replica for w in self._pool if w.state is WorkerState.STARTING]
        begun = self._turns.next(self._waiting, starting)
        self._waiting = [start for start in self._waiting if start not in begun]
        workers = [self.start(self.resolved(start)) for start in begun]
        if self._manager is not None:
            for worker in workers:
                self.open_socket(worker)
        return workers

    def resolved(self, replica: RunningReplica) -> WorkerToStart:
        """A worker to start, its arguments resolved. Any thread may call it.

        Raises:
            WorkerError: if it cannot be started.
        """
        spec = self.spec_of(replica)
        resolved: WorkerToStart = self.launcher.resolved(spec, next(self._numbers), replica)
        return resolved

    def start(self, resolved: WorkerToStart) -> Worker:
        """Start one worker, which is not ready yet.

        Raises:
            WorkerError: if it cannot be started.
        """
        handle = self.launcher.start(resolved)
        worker = Worker(worker_id=resolved.worker_id, tiers=resolved.pool.tiers, handle=handle)
        self._pool.add(worker)
        return worker

    def turn(self, replica: RunningReplica) -> contextlib.AbstractAsyncContextManager[None]:
        """Within it no other worker of the running server starts on the same devices."""
        return self._turns.turn(replica)

    def connect(self, manager: "TokenizerManager") -> None:
        """Take the tokenizer manager and open a socket to every worker started so far."""
        self._manager = manager
        for worker in self._pool:
            self.open_socket(worker)

    def open_socket(self, worker: Worker) -> None:
        """Connect the tokenizer manager to a worker."""
        assert self._manager is not None
        worker.socket = get_zmq_socket(
            self._manager.send_to_scheduler.context, zmq.PUSH, worker.handle.input_address, True
        )


class Turns:
    """Who may start now, of workers that share devices."""

    def __init__(self) -> None:
        self._locks: defaultdict[Device, asyncio.Lock] = defaultdict(asyncio.Lock)

    def next(
        self, waiting: Sequence[RunningReplica], starting: Iterable[RunningReplica]
    ) -> list[RunningReplica]:
        """Those that may start while others do, in their order: one a device at a time."""
        busy = {device for replica in starting for device in _places(replica)}
        ready = []
        for replica in waiting:
            mine = _places(replica)
            if busy.isdisjoint(mine):
                ready.append(replica)
            # One that waits keeps its place before those behind it.
            busy.update(mine)
        return ready

    @contextlib.asynccontextmanager
    async def turn(self, replica: RunningReplica) -> AsyncIterator[None]:
        """Within it no other worker starts on the replica's devices."""
        async with contextlib.AsyncExitStack() as held:
            # In rising order, so that two that share several do not wait for each other.
            for device in _places(replica):
                await held.enter_async_context(self._locks[device])
            yield


def _places(replica: RunningReplica) -> list[Device]:
    """Where a replica's ranks lie, in rising order; nothing of one that lies on no device."""
    if replica.base_gpu_id < 0:
        return []
    ranks = range(replica.replica_gpus)
    devices = (replica.base_gpu_id + rank * replica.gpu_id_step for rank in ranks)
    return sorted((replica.gpu, replica.node, device) for device in devices)
