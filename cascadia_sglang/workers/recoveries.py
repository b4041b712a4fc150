"""Replicas that were lost and are on their way back."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator

from cascadia_sglang.planner.capacity_types import RunningReplica


class Recoveries:
    """One task a replica; a later one takes the place of an earlier.

    Args:
        ended: called when a task has ended and its replica is no longer among these.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._tasks: dict[RunningReplica, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[RunningReplica]:
        return iter(self._tasks)

    def begin(self, replica: RunningReplica, work: Coroutine[None, None, None]) -> None:
        """Run this until the replica is there."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[replica] = task

        def forget(_: asyncio.Task[None]) -> None:
            # Another may be on its way by now.
            if self._tasks.get(replica) is task:
                del self._tasks[replica]
            self._ended()

        task.add_done_callback(forget)

    def cancel(self, replica: RunningReplica) -> None:
        """Bring this one back no more."""
        task = self._tasks.pop(replica, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """Bring none back any more."""
        for task in self._tasks.values():
            task.cancel()
