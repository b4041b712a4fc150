"""Started workers outside the pool's capacity, for when a pool needs one more.

A start takes seconds: a process, the weights, the KV pool. A worker that has them already takes
none, and until then it costs memory alone. Which pools have some, and how many, is the operator's
choice; one that is taken, or lost, is followed by another.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.planner.problem import GpuType, RunningReplica
from cascadia_sglang.reallocation.target import Capacity
from cascadia_sglang.workers.breaker import Breaker
from cascadia_sglang.workers.pool import Worker, WorkerState

logger = logging.getLogger(__name__)

# Of a standby, which lies on no device of a plan.
_NO_DEVICE = -1


class Standbys:
    """Keeps so many started workers of each pool, and gives them out."""

    def __init__(self, start: Callable[[RunningReplica], Awaitable[Worker]]) -> None:
        """`start` starts a worker and returns it once it stands by; else WorkerError."""
        self._start = start
        self._wanted: dict[str, tuple[RunningReplica, int]] = {}
        self._waiting: dict[str, list[Worker]] = {}
        self._starting: dict[asyncio.Task[None], str] = {}
        self._breakers: dict[str, Breaker] = {}

    def want(self, wanted: Mapping[str, tuple[Capacity, int]], node: GpuType) -> None:
        """Keep workers of this shape and number for each pool, from the next `refill` on."""
        self._wanted = {
            pool: (_shape(pool, capacity, node), count)
            for pool, (capacity, count) in wanted.items()
            if count
        }

    def refill(self, delay_s: float = 0.0) -> None:
        """Start what is missing, in the background, after so many seconds."""
        for pool, (shape, count) in self._wanted.items():
            there = len(self._waiting.get(pool, ())) + list(self._starting.values()).count(pool)
            for _ in range(count - there):
                task = asyncio.get_running_loop().create_task(self._fill(shape, delay_s))
                self._starting[task] = pool
                task.add_done_callback(lambda done: self._starting.pop(done, None))

    def take(self, replica: RunningReplica) -> Worker | None:
        """A started worker of the replica's pool and shape, at the replica's place from now on."""
        for worker in self._waiting.get(replica.pool, []):
            own = worker.handle.replica
            is_alike = (own.tp_size, own.pp_size) == (replica.tp_size, replica.pp_size)
            # One that has just ended is about to be noticed.
            if is_alike and worker.handle.is_alive():
                self._waiting[replica.pool].remove(worker)
                # From here on its loss is that of a worker that starts.
                worker.state = WorkerState.STARTING
                worker.handle.replica = replica
                return worker
        return None

    def lost(self, worker: Worker) -> None:
        """Start another in the place of one that has ended while it waited."""
        pool = worker.handle.replica.pool
        self._waiting[pool].remove(worker)
        self.refill(self._delay_s(pool))

    def stop(self) -> None:
        """Start none any more; those that wait are the pool's to end."""
        self._wanted = {}
        for task in self._starting:
            task.cancel()

    async def _fill(self, shape: RunningReplica, delay_s: float) -> None:
        while True:
            await asyncio.sleep(delay_s)
            try:
                worker = await self._start(shape)
            except WorkerError as error:
                delay_s = self._delay_s(shape.pool)
                logger.error("a standby is tried again in %.1f s: %s", delay_s, error)
                continue
            self._waiting.setdefault(shape.pool, []).append(worker)
            logger.info("worker %s stands by", worker.worker_id)
            return

    def _delay_s(self, pool: str) -> float:
        """Until the next start after one more loss; the tier itself is not passed over for it."""
        return self._breakers.setdefault(pool, Breaker()).fault(time.monotonic())


def _shape(pool: str, capacity: Capacity, node: GpuType) -> RunningReplica:
    return RunningReplica(
        pool=pool,
        gpu=node.gpu,
        tp_size=capacity.tp_size,
        pp_size=capacity.pp_size,
        node=0,
        base_gpu_id=_NO_DEVICE,
    )
