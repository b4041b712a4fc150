"""The engine workers of a server: started, connected, admitted, lost."""

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

import zmq
from sglang.srt.utils.network import get_zmq_socket

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import JudgeSpec, PaceSpec
from cascadia_sglang.workers.arguments import PoolSpec, TierArguments, pool_specs
from cascadia_sglang.workers.engine import TokenizerEngine
from cascadia_sglang.workers.fork_server import threads_per_worker
from cascadia_sglang.workers.pool import Worker, WorkerPool


def worker_threads(config: CascadeConfig) -> int:
    """CPU threads of each worker's tensor operations."""
    return threads_per_worker(sum(spec.replicas for spec in pool_specs(config)))


class Fleet:
    """Starts workers and cleans up after them. The only writer of the pool."""

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        paces: dict[int, PaceSpec],
        pool: WorkerPool,
        engine: TokenizerEngine,
    ) -> None:
        self._config = config
        self._arguments = arguments
        self._paces = paces
        self._pool = pool
        self._engine = engine
        self._specs = pool_specs(config)
        self._numbers = itertools.count()
        self._launcher: Any = None
        self._manager: Any = None
        self.supervisor: Any = None

    def launch(self, start_group: Any, server_ports: Any) -> list[Worker]:
        """Start every tier's workers, without waiting.

        Raises:
            CascadiaError: if a worker cannot be started.
        """
        # The scheduler's imports take seconds; the fork server is to begin its own before them.
        from cascadia_sglang.workers.launcher import Launcher

        self._launcher = Launcher(
            self._arguments,
            JudgeSpec(
                calibrations=self._config.calibrations(),
                record=self._config.judge.record,
                counts_reasoning=self._config.judge.scope == "all",
            ),
            self._paces,
            sum(spec.replicas for spec in self._specs),
            worker_threads(self._config),
            start_group,
            server_ports,
        )
        return [self._start(spec) for spec in self._specs for _ in range(spec.replicas)]

    def admit_when_ready(self, workers: Iterable[Worker]) -> None:
        """Block until each of these workers is ready, and let it serve."""
        for worker in workers:
            worker.handle.wait_for_ready()
            self._pool.admit(worker, worker.handle.limits)

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager and open a socket to every worker started so far."""
        self._manager = manager
        for worker in self._pool:
            self._open_socket(worker)

    def tell_control_plane(self) -> None:
        """SGLang's control calls wait for one reply a worker."""
        self._manager.update_control_communicator_fan_out(len(self._pool.ready()))

    async def add_worker(self, tier_name: str) -> Worker:
        """Start one more worker for a tier of the running server, and admit it once ready.

        Raises:
            WorkerError: if it did not start.
        """
        index = self._config.tier_index(tier_name)
        spec = next(spec for spec in self._specs if index in spec.tiers)
        worker = self._start(spec)
        self._open_socket(worker)
        try:
            await asyncio.to_thread(self.admit_when_ready, [worker])
        except WorkerError:
            self.lose(worker)
            raise
        self.supervisor.watch(worker)
        self.tell_control_plane()
        return worker

    def lose(self, worker: Worker) -> None:
        """Clean up after a worker that has ended: its attempts fail over, its devices are free."""
        self._pool.remove(worker)
        worker.handle.kill()
        self._launcher.free(worker.handle)
        self._engine.fail_attempts(worker)
        if worker.socket is not None:
            worker.socket.close(linger=0)
        self.tell_control_plane()

    def _start(self, spec: PoolSpec) -> Worker:
        worker_id = f"{spec.name}-{next(self._numbers)}"
        handle = self._launcher.start(spec, worker_id)
        worker = Worker(worker_id=worker_id, tiers=spec.tiers, handle=handle)
        self._pool.add(worker)
        return worker

    def _open_socket(self, worker: Worker) -> None:
        worker.socket = get_zmq_socket(
            self._manager.send_to_scheduler.context, zmq.PUSH, worker.handle.input_address, True
        )
