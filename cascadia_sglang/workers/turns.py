"""Starts on a device that workers share: one after the other.

A worker measures what is free on its device before and after it loads its model. So the next one
begins once the one before has its key-value pool.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

from cascadia_sglang.planner.capacity_types import RunningReplica


class Turns:
    """Who may start now, of workers that share devices."""

    def __init__(self, shared: frozenset[int] = frozenset()) -> None:
        self._locks = {device: asyncio.Lock() for device in sorted(shared)}

    def next(
        self, waiting: Sequence[RunningReplica], starting: Iterable[RunningReplica]
    ) -> list[RunningReplica]:
        """Those that may start while others do, in their order: one a shared device at a time."""
        busy = {device for one in starting for device in self._shared(one)}
        found = []
        for replica in waiting:
            mine = self._shared(replica)
            if busy.isdisjoint(mine):
                found.append(replica)
            # One that waits keeps its place before those behind it.
            busy.update(mine)
        return found

    @contextlib.asynccontextmanager
    async def turn(self, replica: RunningReplica) -> AsyncIterator[None]:
        """Within it no other worker starts on the replica's shared devices."""
        async with contextlib.AsyncExitStack() as held:
            # In rising order, so that two that share several do not wait for each other.
            for device in self._shared(replica):
                await held.enter_async_context(self._locks[device])
            yield

    def _shared(self, replica: RunningReplica) -> list[int]:
        ranks = range(replica.replica_gpus)
        devices = (replica.base_gpu_id + rank * replica.gpu_id_step for rank in ranks)
        return [device for device in sorted(devices) if device in self._locks]
