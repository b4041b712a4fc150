"""Notices nodes that are lost, and finds other places for their replicas.

The loss of a node is one fault, and none of its workers' pools.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.displaced import place_displaced
from cascadia_sglang.capacity.types import Node, RunningReplica
from cascadia_sglang.fleet.recovery import Recoveries
from cascadia_sglang.fleet.reserves import Reserves
from cascadia_sglang.pool.pool import Worker, WorkerPool

logger = logging.getLogger(__name__)

# A node that ends takes its workers along, and is known to be away some seconds later.
SAME_LOSS_S = 15.0
_FAULTS_KEPT = 100


class LostNodes:
    """The replicas of nodes that were lost, until each has a place on a node that is up.

    Args:
        lose: cleans up after a worker whose node, of this name, was lost.
        recover: starts a replica at its new place.
    """

    def __init__(
        self,
        pool: WorkerPool,
        cluster: Callable[[], Cluster],
        blocks: Callable[[], Blocks],
        recoveries: Recoveries,
        reserves: Reserves,
        lose: Callable[[Worker, str], None],
        recover: Callable[[RunningReplica], None],
    ) -> None:
        self._pool = pool
        self._cluster = cluster
        self._blocks = blocks
        self._recoveries = recoveries
        self._reserves = reserves
        self._lose = lose
        self._recover = recover
        self._away: set[int] = set()
        self._waiting: dict[RunningReplica, None] = {}
        self._faults: deque[tuple[float, RunningReplica, Callable[[], None]]] = deque(
            maxlen=_FAULTS_KEPT
        )

    def __iter__(self) -> Iterator[RunningReplica]:
        """The replicas that wait, each at the place that it had."""
        return iter(self._waiting)

    def check(self) -> None:
        """See which nodes were lost or came back, and place whatever finds a place now."""
        cluster = self._cluster()
        away = {node.number for node in cluster.nodes if not node.is_up}
        for node in cluster.nodes:
            if node.number in away - self._away:
                self._take_lost(node, cluster)
            elif node.number in self._away - away:
                logger.info("node %s is back", node.name)
        is_changed, self._away = away != self._away, away
        self._place(cluster)
        if is_changed:
            waiting = Counter(replica.pool for replica in self._waiting)
            for pool, count in waiting.items():
                logger.warning("%d workers of %s wait for a node with room", count, pool)
            self._reserves.standbys.refill()

    def wait(self, replica: RunningReplica) -> None:
        """Have a replica placed anew, as soon as there is room for it."""
        self._waiting[replica] = None

    def forget(self, replica: RunningReplica) -> None:
        """Place this one no more."""
        self._waiting.pop(replica, None)

    def note_fault(self, replica: RunningReplica, forgive: Callable[[], None]) -> None:
        """Remember that a worker was lost by itself: its node may turn out to be the cause."""
        self._faults.append((time.monotonic(), replica, forgive))

    def _take_lost(self, node: Node, cluster: Cluster) -> None:
        logger.error("node %s was lost", node.name)
        for replica in list(self._recoveries):
            if node in cluster.nodes_of(replica):
                self._recoveries.cancel(replica)
                self.wait(replica)
        for worker in list(self._pool):
            if node in cluster.nodes_of(worker.handle.replica):
                self._lose(worker, f"node {node.name} was lost")
        since = time.monotonic() - SAME_LOSS_S
        for at, replica, forgive in self._faults:
            if at >= since and node in cluster.nodes_of(replica):
                forgive()

    def _place(self, cluster: Cluster) -> None:
        # One that the move under way ends is wanted no more, unless the move is undone.
        leaving = [r for r in self._waiting if self._reserves.is_leaving(r)]
        displaced = [r for r in self._waiting if r not in leaving]
        if not displaced:
            return
        places = place_displaced(
            displaced,
            [*self._reserves.occupied(displaced), *leaving],
            cluster,
            self._reserves.shown(),
            self._blocks(),
        )
        for replica, target in places.items():
            self.forget(replica)
            self._recover(target)
