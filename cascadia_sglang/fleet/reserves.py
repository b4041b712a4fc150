"""Workers that could serve at once and do not: standbys, and workers that sleep."""

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.service_placement import free_place
from cascadia_sglang.capacity.types import Capacity, Reserve, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.fleet.sleep import Sleepers
from cascadia_sglang.fleet.standby import Standbys
from cascadia_sglang.fleet.start_times import StartTimes, Way
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool

# Of a standby on a host, which lies on no device of a plan.
_NO_DEVICE = -1


class Reserves:
    """Gives workers out to replicas that start, and finds places for standbys.

    On a host a standby lies on no device and takes any place there. On accelerators it holds its
    devices, and serves there alone.

    Args:
        start: starts a standby and returns it once it stands by; else WorkerError.
        recovering: replicas that were lost and come back.
        sleepers: None where workers that a move takes away end.
        cluster: gives the nodes as they are now.
    """

    def __init__(
        self,
        pool: WritablePool,
        recovering: Iterable[RunningReplica],
        sleepers: Sleepers | None,
        start: Callable[[RunningReplica], Awaitable[Worker]],
        times: StartTimes,
        cluster: Callable[[], Cluster],
    ) -> None:
        self.standbys = Standbys(pool, start, self._place)
        self._sleepers = sleepers
        self._pool = pool
        self._recovering = recovering
        self._times = times
        self._expected: tuple[RunningReplica, ...] = ()
        self._cluster = cluster

    def want(
        self,
        targets: Mapping[str, tuple[Capacity, int]],
        replicas: Sequence[RunningReplica],
    ) -> None:
        """Keep so many standbys of each pool, from the next refill on.

        Args:
            replicas: of the start.

        Raises:
            InfeasiblePlanError: if there are no devices for them beside the replicas.
        """
        self._expected = tuple(replicas)
        planned: list[RunningReplica] = []
        for pool, (capacity, count) in targets.items():
            for _ in range(count):
                replica = self._place(pool, capacity, planned)
                if replica is None:
                    raise InfeasiblePlanError(
                        f"no device is free for a standby of {pool}: there are "
                        f"{self._cluster().devices}"
                    )
                planned.append(replica)
        self._expected = ()
        self.standbys.want(targets)

    def expect(self, replicas: Sequence[RunningReplica]) -> None:
        """Keep the places of a plan free that a move leads to; none once it has ended."""
        self._expected = tuple(replicas)
        if not replicas:
            self.standbys.refill()

    def is_leaving(self, replica: RunningReplica) -> bool:
        """Whether the move that is under way ends this one."""
        return bool(self._expected) and replica not in self._expected

    def way(self, replica: RunningReplica) -> Way:
        """How a replica would come to serve now."""
        if self._sleepers is not None and self._sleepers.find(replica) is not None:
            return Way.WAKE
        return Way.STANDBY if self.standbys.has(replica) else Way.COLD

    def expected_s(self, replica: RunningReplica) -> float:
        """Seconds until a replica is likely to serve, as things are now."""
        return self._times.expected_s(replica.pool, self.way(replica))

    def cold_s(self) -> dict[str, float]:
        """Of every pool: seconds that a worker's start takes from nothing."""
        return self._times.cold_s()

    async def keep(self, worker: Worker) -> bool:
        """Keep a worker that a move takes away; False where it is to end."""
        return self._sleepers is not None and await self._sleepers.put(worker)

    async def take(self, replica: RunningReplica) -> Worker | None:
        """A worker that serves at a replica's place from now on."""
        awake = None if self._sleepers is None else await self._sleepers.wake(replica)
        return awake or self.standbys.take(replica)

    def shown(self) -> Reserve:
        """What placing replicas is to know of them."""
        ready = self.standbys.places(only_ready=True)
        asleep = () if self._sleepers is None else self._sleepers.places()
        return Reserve(prepared=(*asleep, *ready), held=self.standbys.places())

    def occupied(self, displaced: Container[RunningReplica] = ()) -> list[RunningReplica]:
        """What holds devices, or is about to, besides standbys, and these where a plan has them."""
        resting = (WorkerState.ASLEEP, WorkerState.STANDBY)
        present = [worker.handle.replica for worker in self._pool if worker.state not in resting]
        expected = [replica for replica in self._expected if replica not in displaced]
        return [*present, *self._recovering, *expected]

    def _place(
        self, pool: str, capacity: Capacity, others: Sequence[RunningReplica]
    ) -> RunningReplica | None:
        """Where a standby may start; None where all devices are taken."""
        cluster = self._cluster()
        if cluster.gpu == "cpu":
            node = next(node for node in cluster.nodes if node.is_up)
            return RunningReplica(
                pool=pool,
                gpu=cluster.gpu,
                tp_size=capacity.tp_size,
                pp_size=capacity.pp_size,
                node=node.number,
                base_gpu_id=_NO_DEVICE,
            )
        standing_by = [
            worker.handle.replica for worker in self._pool if worker.state is WorkerState.STANDBY
        ]
        return free_place(pool, capacity, cluster, [*self.occupied(), *standing_by, *others])
