"""Started workers outside the pool's capacity, for when a pool needs one more.

A start takes seconds: a process, the weights, the KV pool. A worker that has them already takes
none, and until then it costs memory alone. Which pools have some, and how many, is the operator's
choice; one that is taken, or lost, is followed by another.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from cascadia_sglang.capacity.types import Capacity, RunningReplica
from cascadia_sglang.errors import NodeLostError, WorkerError
from cascadia_sglang.fleet.recovery import FIRST_DELAY_S, Breaker
from cascadia_sglang.pool.pool import Worker, WritablePool

logger = logging.getLogger(__name__)

# Where one more may start beside these, which are on their way; None where there is no room.
Place = Callable[[str, Capacity, list[RunningReplica]], RunningReplica | None]


class Standbys:
    """Keeps so many started workers of each pool, and gives them out."""

    def __init__(
        self,
        pool: WritablePool,
        start: Callable[[RunningReplica], Awaitable[Worker]],
        find_room: Place,
    ) -> None:
        """`start` starts a worker and returns it once it stands by; else WorkerError."""
        self._pool = pool
        self._start = start
        self._place = find_room
        self._wanted: dict[str, tuple[Capacity, int]] = {}
        self._waiting: dict[str, list[Worker]] = {}
        self._starting: dict[asyncio.Task[float | None], RunningReplica] = {}
        self._breakers: dict[str, Breaker] = {}

    def want(self, targets: Mapping[str, tuple[Capacity, int]]) -> None:
        """Keep workers of this shape and number for each pool, from the next `refill` on."""
        self._wanted = {pool: pair for pool, pair in targets.items() if pair[1]}

    def refill(self, delay_s: float = 0.0) -> None:
        """Start what is missing and finds room, in the background, after so many seconds."""
        for pool, (capacity, count) in self._wanted.items():
            starting = [replica for replica in self._starting.values() if replica.pool == pool]
            for _ in range(count - len(self._waiting.get(pool, ())) - len(starting)):
                replica = self._place(pool, capacity, list(self._starting.values()))
                if replica is None:
                    logger.warning("no device is free for a standby of %s", pool)
                    break
                task = asyncio.get_running_loop().create_task(self._fill(replica, delay_s))
                self._starting[task] = replica
                task.add_done_callback(self._tried)

    def places(self, *, only_ready: bool = False) -> tuple[RunningReplica, ...]:
        """Where standbys lie, on a host nowhere; with those that start unless `only_ready`."""
        waiting = [
            worker.handle.replica for workers in self._waiting.values() for worker in workers
        ]
        starting = [] if only_ready else list(self._starting.values())
        return tuple(replica for replica in (*waiting, *starting) if _has_devices(replica))

    def take(self, replica: RunningReplica) -> Worker | None:
        """A started worker of the replica's pool and shape, at the replica's place from now on.

        One that holds devices is given to a replica on the same devices alone, another to one on
        the same node.
        """
        return self._given(self._alike(replica, anywhere=False), replica)

    def take_for_lost(self, replica: RunningReplica) -> Worker | None:
        """As `take`; one that holds devices serves there, in the place of the one that was lost."""
        return self._given(self._alike(replica, anywhere=True), replica)

    def _given(self, worker: Worker | None, replica: RunningReplica) -> Worker | None:
        if worker is not None:
            self._waiting[replica.pool].remove(worker)
            self._pool.call_up(worker)
            if not _has_devices(worker.handle.replica):
                worker.handle.replica = replica
        return worker

    def _alike(self, replica: RunningReplica, *, anywhere: bool) -> Worker | None:
        for worker in self._waiting.get(replica.pool, []):
            standby = worker.handle.replica
            is_alike = (standby.tp_size, standby.pp_size) == (replica.tp_size, replica.pp_size)
            is_there = anywhere if _has_devices(standby) else standby.node == replica.node
            # One that has just ended is about to be noticed.
            if is_alike and (is_there or standby == replica) and worker.handle.is_alive():
                return worker
        return None

    def has(self, replica: RunningReplica) -> bool:
        """Whether a started worker waits that `take` would give this replica."""
        return self._alike(replica, anywhere=False) is not None

    def lost(self, worker: Worker, *, is_fault: bool = True) -> None:
        """Start another in the place of one that has ended while it waited."""
        pool = worker.handle.replica.pool
        self._waiting[pool].remove(worker)
        self.refill(self._delay_s(pool) if is_fault else FIRST_DELAY_S)

    def stop(self) -> None:
        """Start none any more; those that wait are the pool's to end."""
        self._wanted = {}
        for task in self._starting:
            task.cancel()

    async def _fill(self, shape: RunningReplica, delay_s: float) -> float | None:
        """Start one; None once it is there, else the seconds until another is tried."""
        await asyncio.sleep(delay_s)
        try:
            worker = await self._start(shape)
        except NodeLostError as error:
            logger.info("a standby is tried elsewhere: %s", error)
            return FIRST_DELAY_S
        except WorkerError as error:
            delay_s = self._delay_s(shape.pool)
            logger.error("a standby is tried again in %.1f s: %s", delay_s, error)
            return delay_s
        self._waiting.setdefault(shape.pool, []).append(worker)
        logger.info("worker %s stands by", worker.worker_id)
        return None

    def _tried(self, task: asyncio.Task[float | None]) -> None:
        """Forget a start that has ended; where it failed, try another, maybe at another place."""
        self._starting.pop(task, None)
        delay_s = None if task.cancelled() else task.result()
        if delay_s is not None:
            self.refill(delay_s)

    def _delay_s(self, pool: str) -> float:
        """Until the next start after one more loss; the tier itself is not passed over for it."""
        return self._breakers.setdefault(pool, Breaker()).fault(time.monotonic())


def _has_devices(replica: RunningReplica) -> bool:
    """Whether it lies on devices; on a host it does not."""
    return replica.base_gpu_id >= 0
