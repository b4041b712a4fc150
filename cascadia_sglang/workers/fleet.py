"""The engine workers of a server: started, connected, admitted, lost, started again."""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Set
from typing import Any

import zmq
from sglang.srt.utils.network import get_zmq_socket

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import JudgeSpec, PaceSpec
from cascadia_sglang.metrics import Metrics, forget_gauges
from cascadia_sglang.workers.arguments import PoolSpec, TierArguments, pool_specs
from cascadia_sglang.workers.breaker import OPEN_S, Breaker
from cascadia_sglang.workers.control import ControlPlane
from cascadia_sglang.workers.engine import TokenizerEngine
from cascadia_sglang.workers.fork_server import threads_per_worker
from cascadia_sglang.workers.pool import Worker, WorkerPool, WorkerState
from cascadia_sglang.workers.sessions import Sessions

logger = logging.getLogger(__name__)


def worker_threads(config: CascadeConfig) -> int:
    """CPU threads of each worker's tensor operations."""
    return threads_per_worker(sum(spec.replicas for spec in pool_specs(config)))


class Fleet:
    """Starts workers, cleans up after them, and starts them again. The only writer of the pool."""

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        paces: dict[int, PaceSpec],
        pool: WorkerPool,
        judges_constrained: Set[int] = frozenset(),
    ) -> None:
        self.config = config
        self.pool = pool
        self.control = ControlPlane(pool, self.lose)
        self.sessions = Sessions()
        self.engine = TokenizerEngine(
            config.tiers,
            pool,
            self.sessions,
            config.routing.queue_limit,
            self._engine_failed,
            judges_constrained,
        )
        self._arguments = arguments
        self._paces = paces
        self._specs = pool_specs(config)
        self._breakers = [Breaker() for _ in self._specs]
        self._numbers = itertools.count()
        self._launcher: Any = None
        self._manager: Any = None
        self._recoveries: set[asyncio.Task[None]] = set()
        self._due: Counter[int] = Counter()  # workers that are to be started again, by pool
        self.stopping = False
        self.metrics: Metrics | None = None

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
                calibrations=self.config.calibrations(),
                record=self.config.judge.record,
                counts_reasoning=self.config.judge.scope == "all",
            ),
            self._paces,
            sum(spec.replicas for spec in self._specs),
            worker_threads(self.config),
            start_group,
            server_ports,
        )
        return [self._start(spec) for spec in self._specs for _ in range(spec.replicas)]

    def admit_when_ready(self, workers: Iterable[Worker]) -> None:
        """Block until each of these workers is ready, and let it serve."""
        for worker in workers:
            worker.handle.wait_for_ready()
            self.pool.admit(worker, worker.handle.limits)

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager and open a socket to every worker started so far."""
        self._manager = manager
        for worker in self.pool:
            self._open_socket(worker)

    async def add_worker(self, tier_name: str) -> Worker:
        """Start one more worker for a tier of the running server, and admit it once ready.

        Raises:
            WorkerError: if it did not start.
        """
        worker = self._start(self._spec_of(tier_name))
        # Should it not start, the caller is told, and nothing is tried again.
        worker.retired = True
        await self._admit(worker)
        worker.retired = False
        return worker

    def _spec_of(self, tier_name: str) -> PoolSpec:
        index = self.config.tier_index(tier_name)
        return next(spec for spec in self._specs if index in spec.tiers)

    async def scale(self, tier_name: str, replicas: int) -> None:
        """Have this many workers of a tier; those that are too many end what they run first.

        Raises:
            WorkerError: if one did not start.
        """
        spec = self._spec_of(tier_name)
        while True:
            present = [w for w in self.pool if w.handle.pool is spec and not w.retired]
            coming = len(present) + self._due[spec.index]
            if coming < replicas:
                await self.add_worker(tier_name)
            elif coming > replicas and present:
                await self._retire(present[-1])
            else:
                return

    async def _retire(self, worker: Worker) -> None:
        worker.retired = True
        self.pool.drain(worker)
        while worker.rids and worker.state is not WorkerState.DEAD:
            await asyncio.sleep(0.05)
        self.lose(worker, "it was retired")

    async def _admit(self, worker: Worker) -> None:
        """Let a worker of the running server serve once it is ready."""
        self._open_socket(worker)
        try:
            await asyncio.to_thread(worker.handle.wait_for_ready)
        except WorkerError:
            self._measure(worker, None)
            self.lose(worker, "it did not start")
            raise
        if worker.state is WorkerState.DEAD:
            raise WorkerError(f"worker {worker.worker_id} was lost while it started")
        self.pool.admit(worker, worker.handle.limits)
        self._measure(worker, time.monotonic() - worker.handle.started)
        logger.info("worker %s serves", worker.worker_id)

    def lose(self, worker: Worker, why: str) -> None:
        """Clean up after a worker and start another in its place, unless it was to end.

        Its attempts fail over, its devices are free. A second call does nothing.
        """
        if worker.state is WorkerState.DEAD:
            return
        self.pool.remove(worker)
        worker.handle.kill()
        self._launcher.free(worker.handle)
        if self.metrics is not None:
            forget_gauges(worker.handle.pids)
            self._show_workers()
        self.engine.fail_attempts(worker)
        if worker.socket is not None:
            worker.socket.close(linger=0)
        self.control.gone(worker)
        if worker.retired or self.stopping:
            return
        logger.error("worker %s was lost: %s", worker.worker_id, why)
        spec = worker.handle.pool
        delay_s = self._count_fault(spec)
        self._due[spec.index] += 1
        task = asyncio.create_task(self._recover(spec, delay_s))
        self._recoveries.add(task)
        task.add_done_callback(self._recoveries.discard)

    def lose_attempts(self) -> None:
        """Fail every running attempt over: what was known of their texts is gone."""
        for worker in self.pool:
            self.engine.fail_attempts(worker)

    def stop(self) -> None:
        """Start nothing any more."""
        self.stopping = True
        for task in self._recoveries:
            task.cancel()

    async def _recover(self, spec: PoolSpec, delay_s: float) -> None:
        worker: Worker | None = None
        while worker is None:
            await asyncio.sleep(delay_s)
            try:
                worker = self._start(spec)
            except WorkerError as error:
                logger.error("%s", error)
                delay_s = self._count_fault(spec)
        self._due[spec.index] -= 1
        try:
            await self._admit(worker)
        except WorkerError as error:
            # As a worker lost, it has the next recovery on its way.
            logger.error("%s", error)

    def _engine_failed(self, worker: Worker, error: Exception) -> None:
        logger.error("worker %s answered with an internal error: %s", worker.worker_id, error)
        self._count_fault(worker.handle.pool)

    def _count_fault(self, spec: PoolSpec) -> float:
        """Count a fault of a pool, pass its tiers over after too many; delay until a new start."""
        breaker = self._breakers[spec.index]
        delay_s = breaker.fault(time.monotonic())
        if breaker.is_open(time.monotonic()):
            self.pool.bypass(spec.tiers)
            asyncio.get_running_loop().call_later(OPEN_S + 0.1, self._close_breaker, spec)
        return delay_s

    def _close_breaker(self, spec: PoolSpec) -> None:
        if not self._breakers[spec.index].is_open(time.monotonic()):
            self.pool.restore(spec.tiers)

    def _measure(self, worker: Worker, start_s: float | None) -> None:
        if self.metrics is not None:
            self.metrics.worker_started(worker.handle.pool.name, start_s)
            self._show_workers()

    def _show_workers(self) -> None:
        assert self.metrics is not None
        self.metrics.show_workers(
            Counter((worker.handle.pool.name, worker.state.value) for worker in self.pool)
        )

    def _start(self, spec: PoolSpec) -> Worker:
        worker_id = f"{spec.name}-{next(self._numbers)}"
        handle = self._launcher.start(spec, worker_id)
        worker = Worker(worker_id=worker_id, tiers=spec.tiers, handle=handle)
        self.pool.add(worker)
        return worker

    def _open_socket(self, worker: Worker) -> None:
        worker.socket = get_zmq_socket(
            self._manager.send_to_scheduler.context, zmq.PUSH, worker.handle.input_address, True
        )
