"""The engine workers of a server: started, connected, admitted, lost, started again."""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Set
from typing import TYPE_CHECKING, Any

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import Capacity, RunningReplica
from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.engine.control import ControlPlane
from cascadia_sglang.engine.prefiller import WorkerPrefiller
from cascadia_sglang.engine.sglang_engine import TokenizerEngine
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.errors import NodeLostError, WorkerError
from cascadia_sglang.fleet.detokenizer import Detokenizers
from cascadia_sglang.fleet.event_feeds import EventFeeds
from cascadia_sglang.fleet.lost_nodes import LostNodes
from cascadia_sglang.fleet.rebalance import Rebalance
from cascadia_sglang.fleet.recovery import Faults, LostWorker, Recoveries
from cascadia_sglang.fleet.reserves import Reserves
from cascadia_sglang.fleet.sleep import Sleepers
from cascadia_sglang.fleet.start_times import StartTimes
from cascadia_sglang.fleet.starts import Starts
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.fork_server import await_fork_server
from cascadia_sglang.messages import PaceSpec
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import Worker, WorkerPool, WorkerState, WritablePool
from cascadia_sglang.pool.sessions import Sessions
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.prefix.cached_prefixes import HeldPrefixes

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager
    from sglang.srt.server_args import PortArgs

    from cascadia_sglang.cluster.remote_nodes import RemoteNodes
    from cascadia_sglang.fleet.launcher_protocol import Launcher
    from cascadia_sglang.launch.launcher import StartGroup

logger = logging.getLogger(__name__)

LOSSES_KEPT = 100


class Fleet:
    """Starts workers, cleans up after them, and starts them again.

    With its parts (starts, standbys, sleepers, faults) the only writer of the pool: nobody else has
    a `WritablePool`.
    """

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        paces: dict[int, PaceSpec],
        pool: WritablePool,
        metrics: Metrics,
        judges_constrained: Set[int] = frozenset(),
        voices: Voices | None = None,
        nodes: "RemoteNodes | None" = None,
    ) -> None:
        """`voices` are those of the tiers; None where all have one.

        `nodes` are the machines besides this host that take workers; None where there are none.
        """
        self.config = config
        self._nodes = nodes
        voices = voices or Voices.single([tier.name for tier in config.tiers])
        self.views = VoiceViews(voices, arguments)
        self.detokenizers = Detokenizers(voices)
        self.pool: WorkerPool = pool
        self._writable = pool
        self.control = ControlPlane(pool, self.lose, pool.note_released)
        self._faults = Faults(pool)
        self.sessions = Sessions()
        self.choice = WorkerChoice(pool, HeldPrefixes(), config.prefix.workers)
        self.engine = TokenizerEngine(
            config.tiers,
            pool,
            self.choice,
            self.sessions,
            config.routing.queue_limit,
            self._faults.failed,
            judges_constrained,
            self._faults.answered,
            views=self.views,
            max_samples=config.routing.max_samples,
        )
        self.prefiller = WorkerPrefiller(pool, self.choice, self.engine)
        self._rebalance = Rebalance(pool, self.engine.move_attempts, config.routing.queue_limit)
        self.events = EventFeeds(self.choice.held)
        self._arguments = arguments
        self._paces = paces
        self._specs = pool_specs(config)
        self._starts = Starts(pool, self._specs)
        self._recoveries = Recoveries(lambda: self.standbys.refill())
        self.start_times = times = StartTimes((spec.name for spec in self._specs), metrics)
        sleepers = Sleepers(pool, self.control) if config.planner.sleep else None
        self.reserves = Reserves(
            pool, self._recoveries, sleepers, self._start_standby, times, lambda: self.cluster
        )
        self.standbys = self.reserves.standbys
        self.lost_nodes = LostNodes(
            pool,
            lambda: self.cluster,
            lambda: self.blocks,
            self._recoveries,
            self.reserves,
            lambda worker, why: self.lose(worker, why, WorkerEnd.LOST_NODE),
            lambda replica: self.recover(replica, 0.0),
        )
        self.losses: deque[LostWorker] = deque(maxlen=LOSSES_KEPT)
        self.stopping = False

    def launch(self, start_group: "StartGroup", server_ports: "PortArgs") -> list[Worker]:
        """Start every tier's workers, without waiting.

        Of those that share a device only the first; the others follow in `admit_when_ready`.

        Raises:
            CascadiaError: if a worker cannot be started.
        """
        self._starts.launcher = self._launcher(start_group, server_ports)
        capacities = {
            spec.name: Capacity(replicas=spec.replicas, **self._arguments.parallel_sizes(spec))
            for spec in self._specs
        }
        standbys = {spec.name: (capacities[spec.name], spec.standby) for spec in self._specs}
        self.reserves.want(standbys, self._starts.launcher.replicas)
        return self._starts.launch()

    def _launcher(self, start_group: "StartGroup", server_ports: "PortArgs") -> "Launcher[Any]":
        # The scheduler's imports take seconds; the fork server is to begin its own before them.
        if self._nodes is None:
            from cascadia_sglang.launch.this_host import launcher_of

            return launcher_of(
                self.config,
                self._arguments,
                self._paces,
                start_group,
                server_ports,
                self.detokenizers.address,
            )
        from cascadia_sglang.cluster.build import cluster_launcher_of

        return cluster_launcher_of(
            self.config,
            self._arguments,
            self._paces,
            start_group,
            server_ports,
            self.detokenizers,
            self._nodes,
        )

    def admit_when_ready(self, workers: list[Worker]) -> None:
        """Block until each of these workers is ready, and let it serve.

        Those that wait for a device are started meanwhile, and added to the list.
        """
        for worker in workers:
            worker.handle.wait_for_ready()
            self.start_times.started(worker)
            self.events.add(worker)
            self._writable.admit(worker, worker.handle.limits)
            workers += self._starts.further()

    def count_earlier_starts(self) -> None:
        """Count the workers that were ready before the metrics were opened."""
        self.start_times.count_earlier(self.pool.ready())

    def connect(self, manager: "TokenizerManager") -> None:
        """Take the tokenizer manager, see it by every voice, and open a socket to every worker
        started so far.

        Raises:
            WorkerError: if a tokenizer or a template cannot be loaded; names the voice.
        """
        self._starts.connect(manager)
        self.views.connect(manager)

    @property
    def cluster(self) -> Cluster:
        """The nodes that replicas lie on."""
        return self._starts.launcher.cluster

    @property
    def blocks(self) -> Blocks:
        """Which pools' workers share devices."""
        return self._starts.launcher.blocks

    def pool_of(self, tier_index: int) -> str:
        """The name of the pool whose workers serve a tier."""
        return next(spec.name for spec in self._specs if tier_index in spec.tiers)

    def replicas(self) -> tuple[RunningReplica, ...]:
        """What runs, starts, or is to be started again after a loss; the oldest first.

        Last come those that wait for a place since their node was lost.
        """
        present = [w.handle.replica for w in self.pool if not w.retired]
        lost = [replica for replica in self._recoveries if replica not in present]
        return (*present, *lost, *self.lost_nodes)

    async def start(self, replica: RunningReplica) -> None:
        """Start one more worker of the running server, and admit it once it is ready.

        Raises:
            WorkerError: if it did not start; nothing is tried again.
        """
        if self.stopping:
            raise WorkerError("the server is shutting down")
        began_s, way = time.monotonic(), self.reserves.way(replica)
        worker = await self.reserves.take(replica) or await self._started(replica)
        try:
            await self._serve(worker)
        finally:
            self.standbys.refill()
        worker.retired = False
        self.start_times.note(replica.pool, way, time.monotonic() - began_s)

    def drain(self, replica: RunningReplica) -> None:
        """Give a replica's worker no further attempts; those that wait there move."""
        self._recoveries.cancel(replica)
        self.lost_nodes.forget(replica)
        for worker in self._workers_at(replica):
            worker.retired = True
            self._writable.drain(worker)
            self._rebalance.away_from(worker)

    async def stop_replica(self, replica: RunningReplica, drain_s: float) -> None:
        """End a drained replica's worker; what it still runs after this time is run elsewhere."""
        deadline = asyncio.get_running_loop().time() + drain_s
        for worker in self._workers_at(replica):
            if not await worker.becomes_idle(deadline):
                logger.warning("%s: %d attempts move", worker.worker_id, len(worker.rids))
            if await self.reserves.keep(worker):
                self.events.drop(worker)
                self.choice.forget(worker)
            else:
                self.lose(worker, "it was stopped")

    def recover(self, replica: RunningReplica, delay_s: float | None = None) -> None:
        """Have a replica started, and tried again until it is there, or elsewhere should its node
        be away."""
        if not self.cluster.is_up(replica):
            self.lost_nodes.wait(replica)
            return
        wait_s = self._faults.count(self._starts.spec_of(replica)) if delay_s is None else delay_s
        if not self._has_stand_in(replica):
            self._recoveries.begin(replica, self._recover(replica, wait_s))

    def _workers_at(self, replica: RunningReplica) -> list[Worker]:
        return [worker for worker in self.pool if worker.handle.replica == replica]

    async def _start_standby(self, shape: RunningReplica) -> Worker:
        self._writable.stand_by(worker := await self._started(shape))
        return worker

    async def _started(self, replica: RunningReplica) -> Worker:
        """A worker that is ready, and that nobody counts on yet."""
        async with self._starts.turn(replica):
            worker = await self._start_beside(replica)
            worker.retired = True
            await self._become_ready(worker)
        return worker

    async def _become_ready(self, worker: Worker) -> None:
        """Wait until a worker of the running server could serve."""
        self._starts.open_socket(worker)
        try:
            async with asyncio.timeout(self.config.start_limit_s):
                await asyncio.to_thread(worker.handle.wait_for_ready)
        except (WorkerError, TimeoutError) as error:
            self.start_times.failed(worker)
            self.lose(worker, "it did not start")
            self._check_node(worker)
            if isinstance(error, TimeoutError):
                late = f"was not ready in {self.config.start_limit_s:g} s (start_limit_s)"
                raise WorkerError(f"worker {worker.worker_id} {late}") from None
            raise
        self._check_node(worker)
        worker.check_alive()
        worker.limits = worker.handle.limits
        self.start_times.started(worker)

    async def _serve(self, worker: Worker) -> None:
        """Let a worker that is ready take attempts."""
        self.events.add(worker)
        await self.prefiller.carry(worker, self.config.prefix.carry_s)
        worker.check_alive()
        self._writable.admit(worker, worker.handle.limits)
        self._rebalance.to(worker)
        logger.info("worker %s serves", worker.worker_id)

    def lose(self, worker: Worker, why: str, end: WorkerEnd = WorkerEnd.OUTSIDE) -> None:
        """Clean up after a worker and start another in its place, unless it was to end.

        Its attempts run elsewhere, as suspects after its own error. A second call does nothing.
        """
        if worker.state is WorkerState.DEAD:
            return
        replica = worker.handle.replica
        if self._is_lost_with_node(worker):
            end = WorkerEnd.LOST_NODE
        elif self.control.is_awaited(worker):
            end = WorkerEnd.CONTROL_CALL
        at = time.monotonic()
        is_standby = worker.state is WorkerState.STANDBY
        self.losses.append(LostWorker(worker_id=worker.worker_id, why=why, end=end))
        self._writable.remove(worker)
        worker.handle.kill()
        worker.handle.close()
        self.engine.fail_attempts(worker, self._faults.forgiving(worker, at, end))
        self.engine.end_sessions(worker)
        self.events.drop(worker)
        self.choice.forget(worker)
        if worker.socket is not None:
            worker.socket.close(linger=0)
        self.control.gone(worker)
        if self.stopping or (worker.retired and not is_standby):
            return
        # The node's own line says it as an error.
        level = logging.INFO if end is WorkerEnd.LOST_NODE else logging.ERROR
        logger.log(level, "worker %s was lost: %s (%s)", worker.worker_id, why, end.value)
        if is_standby:
            self.standbys.lost(worker, is_fault=end is not WorkerEnd.LOST_NODE)
            return
        if end is not WorkerEnd.LOST_NODE:
            forgive = functools.partial(self._faults.forgive, worker.handle.pool, at)
            self.lost_nodes.note_fault(replica, forgive)
        self.recover(replica, self._faults.count(worker.handle.pool, at, end))

    def lose_attempts(self, tiers: Set[int]) -> None:
        """Fail every running attempt of these tiers over: the texts so far are lost."""
        for worker in self.pool:
            if not tiers.isdisjoint(worker.tiers):
                self.engine.fail_attempts(worker)

    def drain_all(self) -> None:
        """Give no worker any further attempts: the server ends."""
        for worker in self.pool:
            self._writable.drain(worker)

    def end(self) -> None:
        """Remove what the workers leave behind, once they have ended."""
        self._starts.launcher.end()

    def stop(self) -> None:
        """Start nothing any more."""
        self.stopping = True
        self._recoveries.stop()
        self.standbys.stop()

    async def _recover(self, replica: RunningReplica, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if self._has_stand_in(replica):
            return
        try:
            async with self._starts.turn(replica):
                worker = await self.reserves.take(replica)
                if worker is None:
                    worker = await self._start_again(replica)
        except WorkerError as error:
            # As a worker lost, it has the next recovery on its way.
            logger.error("%s", error)
            return
        if worker is None:
            self.recover(replica)
        else:
            await self._return(worker)

    def _has_stand_in(self, replica: RunningReplica) -> bool:
        """Let a standby serve for a lost replica, from its own place; False where there is none."""
        worker = self.standbys.take_for_lost(replica)
        if worker is not None:
            self._recoveries.begin(worker.handle.replica, self._return(worker))
        return worker is not None

    async def _return(self, worker: Worker) -> None:
        """Let a worker serve in the place of one that was lost."""
        worker.retired = False
        try:
            await self._serve(worker)
        except WorkerError as error:
            logger.error("%s", error)

    async def _start_again(self, replica: RunningReplica) -> Worker | None:
        """A worker that is ready; None where its start was refused."""
        try:
            worker = await self._start_beside(replica)
        except WorkerError as error:
            logger.error("%s", error)
            return None
        await self._become_ready(worker)
        return worker

    async def _start_beside(self, replica: RunningReplica) -> Worker:
        """Start a worker of a server that runs; its loop does not wait for what devices tell."""
        resolved = await asyncio.to_thread(self._starts.resolved, replica)
        await await_fork_server()
        if self.stopping:
            raise WorkerError("the server is shutting down")
        if not self.cluster.is_up(replica):
            raise NodeLostError(f"the node of a worker of {replica.pool} is away")
        return self._starts.start(resolved)

    def _check_node(self, worker: Worker) -> None:
        """Raises NodeLostError if a worker was lost with its node."""
        if worker.state is WorkerState.DEAD and self._is_lost_with_node(worker):
            raise NodeLostError(f"worker {worker.worker_id} was lost with its node")

    def _is_lost_with_node(self, worker: Worker) -> bool:
        """Whether a worker's node is away, or was when the worker ended."""
        handle = worker.handle
        has_ended = not handle.is_alive() and handle.end() is WorkerEnd.LOST_NODE
        return has_ended or not self.cluster.is_up(handle.replica)
