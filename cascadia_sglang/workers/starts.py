"""Begins workers' processes, one at a time on a device that they share."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from sglang.srt.utils.network import get_zmq_socket

from cascadia_sglang.planner.capacity_types import RunningReplica
from cascadia_sglang.pool_specs import PoolSpec
from cascadia_sglang.workers.pool import Worker, WorkerPool, WorkerState
from cascadia_sglang.workers.turns import Turns


class Starts:
    """Starts workers and opens their sockets; they do not serve yet."""

    def __init__(
        self, pool: WorkerPool, add: Callable[[Worker], None], specs: Sequence[PoolSpec]
    ) -> None:
        """`add` puts a worker that was started into the pool."""
        self.launcher: Any = None
        self._pool = pool
        self._add = add
        self._specs = specs
        self._numbers = itertools.count()
        self._manager: Any = None
        self._turns = Turns()
        self._waiting: list[RunningReplica] = []

    def spec_of(self, replica: RunningReplica) -> PoolSpec:
        """The pool that a replica belongs to."""
        return next(spec for spec in self._specs if spec.name == replica.pool)

    def launch(self, launcher: Any) -> list[Worker]:
        """Start the server's first workers; of those that share a device one only.

        Raises:
            WorkerError: if one cannot be started.
        """
        self.launcher = launcher
        self._turns = Turns(launcher.devices.shared)
        self._waiting = list(launcher.devices.replicas)
        return self.further()

    def further(self) -> list[Worker]:
        """Start those of the first workers whose devices have become free of other starts."""
        starting = [w.handle.replica for w in self._pool if w.state is WorkerState.STARTING]
        begun = self._turns.next(self._waiting, starting)
        self._waiting = [one for one in self._waiting if one not in begun]
        workers = [self.start(self.resolved(one)) for one in begun]
        if self._manager is not None:
            for worker in workers:
                self.open_socket(worker)
        return workers

    def resolved(self, replica: RunningReplica) -> Any:
        """A worker to start, its arguments resolved. Any thread may call it.

        Raises:
            WorkerError: if it cannot be started.
        """
        spec = self.spec_of(replica)
        return self.launcher.resolved(spec, next(self._numbers), replica)

    def start(self, resolved: Any) -> Worker:
        """Start one worker, which is not ready yet.

        Raises:
            WorkerError: if it cannot be started.
        """
        handle = self.launcher.start(resolved)
        worker = Worker(worker_id=resolved.worker_id, tiers=resolved.pool.tiers, handle=handle)
        self._add(worker)
        return worker

    def turn(self, replica: RunningReplica) -> contextlib.AbstractAsyncContextManager[None]:
        """Within it no other worker of the running server starts on the same shared devices."""
        return self._turns.turn(replica)

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager and open a socket to every worker started so far."""
        self._manager = manager
        for worker in self._pool:
            self.open_socket(worker)

    def open_socket(self, worker: Worker) -> None:
        """Connect the tokenizer manager to a worker."""
        worker.socket = get_zmq_socket(
            self._manager.send_to_scheduler.context, zmq.PUSH, worker.handle.input_address, True
        )
