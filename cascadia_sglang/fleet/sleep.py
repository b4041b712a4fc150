"""Workers that sleep: they live, but have given their device's memory back.

A worker that a move takes away sleeps in place of ending, where `planner.sleep` says so: weights go
to the host's memory, the KV pool is given up. Its device is free for others meanwhile. Where a plan
has a replica at the same place again, the worker takes its memory back in place of a start.
"""

import logging

from sglang.srt.managers.io_struct import (
    FlushCacheReqInput,
    ReleaseMemoryOccupationReqInput,
    ResumeMemoryOccupationReqInput,
)

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.engine.control import ControlPlane
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool

logger = logging.getLogger(__name__)

# SGLang's scheduler ends where it is not idle when its memory is released.
IDLE_S = 5.0
# For weights of hundreds of gigabytes to cross to the host or back.
MEMORY_S = 120.0


class Sleepers:
    """Puts workers to sleep and wakes them."""

    def __init__(self, pool: WritablePool, control: ControlPlane) -> None:
        self._pool = pool
        self._control = control

    def places(self) -> tuple[RunningReplica, ...]:
        """Where a worker sleeps that could be woken."""
        return tuple(worker.handle.replica for worker in self._asleep())

    def find(self, replica: RunningReplica) -> Worker | None:
        """The worker that sleeps at a replica's place."""
        return next((worker for worker in self._asleep() if worker.handle.replica == replica), None)

    async def put(self, worker: Worker) -> bool:
        """Put a drained worker to sleep; False where it has to be ended instead."""
        if worker.rids or worker.state is not WorkerState.DRAINING:
            return False
        # An aborted attempt may still run, and an overlapped step after the last answer.
        idle = await self._control.ask(worker, FlushCacheReqInput(timeout_s=IDLE_S), 2 * IDLE_S)
        if idle is None or not idle.success:
            logger.warning("worker %s is not idle, it ends", worker.worker_id)
            return False
        released = await self._control.ask(worker, ReleaseMemoryOccupationReqInput(), MEMORY_S)
        if released is None or worker.state is not WorkerState.DRAINING:
            return False
        self._pool.fall_asleep(worker)
        logger.info("worker %s sleeps", worker.worker_id)
        return True

    async def wake(self, replica: RunningReplica) -> Worker | None:
        """The worker that slept at a replica's place, with its memory; None where there is none."""
        worker = self.find(replica)
        if worker is None:
            return None
        self._pool.call_up(worker)
        resumed = await self._control.ask(worker, ResumeMemoryOccupationReqInput(), MEMORY_S)
        if resumed is None or worker.state is not WorkerState.STARTING:
            return None
        logger.info("worker %s is awake", worker.worker_id)
        return worker

    def _asleep(self) -> list[Worker]:
        return [
            worker
            for worker in self._pool
            if worker.state is WorkerState.ASLEEP and worker.handle.is_alive()
        ]
