"""Moves waiting attempts between the workers of a pool when its capacity changes.

An attempt is sent to a worker at once and waits there for its place in a batch. So a worker that
begins to serve would stand idle beside the others' queues, and one that is to end would first have
to serve all of its own.
"""

from collections.abc import Callable, Sequence

from cascadia_sglang.pool.load_snapshots import published_load
from cascadia_sglang.pool.pool import Worker, WorkerPool
from cascadia_sglang.prefix.speed import PublishedLoad


class Rebalance:
    """Takes waiting attempts from workers; each goes to the worker that is chosen next.

    Args:
        move: ends so many of a worker's attempts, the youngest, to run again elsewhere.
        queue_limit: attempts that a worker may hold.
        load_of: what a worker's scheduler last published.
    """

    def __init__(
        self,
        pool: WorkerPool,
        move: Callable[[Worker, int], None],
        queue_limit: int,
        load_of: Callable[[Worker], PublishedLoad | None] = published_load,
    ) -> None:
        self._pool = pool
        self._move = move
        self._queue_limit = queue_limit
        self._load_of = load_of

    def to(self, newcomer: Worker) -> None:
        """Give a worker that begins to serve its share of what waits at the others of its pool."""
        mates = self._mates(newcomer)
        held = [len(mate.rids) for mate in mates]
        counts = moving(held, [self._waiting(mate) for mate in mates], len(newcomer.rids))
        for mate, count in zip(mates, counts, strict=True):
            if count:
                self._move(mate, count)

    def away_from(self, leaving: Worker) -> None:
        """Move waiting attempts off a draining worker, as far as its pool has queue space."""
        room = sum(max(0, self._queue_limit - len(mate.rids)) for mate in self._mates(leaving))
        count = min(self._waiting(leaving), room)
        if count:
            self._move(leaving, count)

    def _mates(self, worker: Worker) -> list[Worker]:
        return [
            mate for mate in self._pool.ready() if mate.tiers == worker.tiers and mate != worker
        ]

    def _waiting(self, worker: Worker) -> int:
        """Attempts that wait, at least: what was published, or what no batch can hold."""
        load = self._load_of(worker) if worker.rids else None
        if load is None:
            return 0
        return min(len(worker.rids), max(load.waiting, len(worker.rids) - load.max_running))


def moving(held: Sequence[int], waiting: Sequence[int], own_attempts: int) -> list[int]:
    """How many attempts each worker gives up so that one more has as many as the others.

    Args:
        held, waiting: attempts of each, and of them those that wait.
        own_attempts: that the one more has.
    """
    share = -(-(sum(held) + own_attempts) // (len(held) + 1))
    return [max(0, min(wait, count - share)) for count, wait in zip(held, waiting, strict=True)]
