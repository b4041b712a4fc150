"""Where standbys start, and which places a plan finds prepared or held."""

from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import Capacity, Node, Reserve, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError, WorkerError
from cascadia_sglang.fleet.reserves import Reserves
from cascadia_sglang.fleet.start_times import StartTimes, Way
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool
from cascadia_sglang.pool.worker_handle import Limits

CARDS = Cluster(nodes=(Node(gpu="cuda", devices=4),))
HOST = Cluster(nodes=(Node(gpu="cpu", devices=128),))
ONE, TWO = Capacity(replicas=1), Capacity(replicas=1, tp_size=2)


def make_replica(pool: str, device: int, tp_size: int = 1, gpu: str = "cuda") -> RunningReplica:
    return RunningReplica(pool=pool, gpu=gpu, node=0, base_gpu_id=device, tp_size=tp_size)


class Scene:
    """A pool whose standbys start at once, or are noted alone."""

    def __init__(self, *present: RunningReplica, lost: tuple[RunningReplica, ...] = ()) -> None:
        self.pool = WritablePool()
        self.started: list[RunningReplica] = []
        self.times = StartTimes(("small", "large"), Metrics(()))
        self.sleepers: Any = SimpleNamespace(
            asleep=[],
            places=lambda: tuple(self.sleepers.asleep),
            find=lambda replica: self.sleepers.asleep.count(replica) or None,
        )
        for number, replica in enumerate(present):
            self.add(f"{replica.pool}-{number}", replica, WorkerState.READY)
        self.cluster = CARDS
        self.reserves = Reserves(
            self.pool, lost, self.sleepers, self._start, self.times, lambda: self.cluster
        )

    def add(self, name: str, replica: RunningReplica, state: WorkerState) -> Worker:
        handle = SimpleNamespace(replica=replica, is_alive=lambda: True)
        worker = Worker(worker_id=name, tiers=(0,), handle=handle)
        self.pool.add(worker)
        if state is WorkerState.READY:
            self.pool.admit(worker, Limits(context_tokens=9, input_tokens=9, vocabulary=9))
        worker.state = state
        return worker

    async def _start(self, replica: RunningReplica) -> Worker:
        self.started.append(replica)
        raise WorkerError("noted alone")


def test_a_start_with_standbys_that_find_no_device_is_refused() -> None:
    replicas = [make_replica("small", 0), make_replica("large", 2, tp_size=2)]
    scene = Scene()
    scene.reserves.want({"small": (ONE, 1)}, replicas)
    with pytest.raises(InfeasiblePlanError, match="no device is free for a standby of small"):
        scene.reserves.want({"small": (ONE, 2)}, replicas)
    with pytest.raises(InfeasiblePlanError, match="standby of large: there are 4"):
        scene.reserves.want({"large": (TWO, 1)}, replicas)


def test_a_host_has_room_for_any() -> None:
    scene = Scene(*(make_replica("small", device, gpu="cpu") for device in range(3)))
    scene.cluster = HOST
    scene.reserves.want({"small": (ONE, 9)}, ())
    assert scene.reserves.shown() == Reserve()


@pytest.mark.parametrize(
    ("lost", "expected", "device"),
    [
        ((), (), 1),
        ((make_replica("large", 1),), (), 2),
        ((), (make_replica("large", 1), make_replica("large", 2)), 3),
    ],
    ids=["free", "coming-back", "planned"],
)
async def test_a_standby_keeps_off_every_place_that_somebody_has_or_will_have(
    lost: Any, expected: Any, device: int
) -> None:
    scene = Scene(make_replica("small", 0), lost=lost)
    scene.reserves.want({"small": (ONE, 1)}, (make_replica("small", 0),))
    scene.reserves.expect(expected)
    scene.reserves.standbys.refill()
    (shown,) = scene.reserves.shown().held
    assert shown == make_replica("small", device)
    scene.reserves.standbys.stop()


async def test_where_a_worker_sleeps_is_room_for_a_standby() -> None:
    replicas = [make_replica("small", device) for device in range(3)]
    scene = Scene(*replicas)
    scene.reserves.want({"small": (ONE, 1)}, replicas)
    scene.add("large-9", make_replica("large", 3), WorkerState.ASLEEP)
    scene.reserves.standbys.refill()
    assert scene.reserves.shown().held == (make_replica("small", 3),)
    scene.reserves.standbys.stop()


async def test_the_end_of_a_move_brings_the_standbys_that_found_no_room() -> None:
    scene = Scene(*(make_replica("small", device) for device in range(3)))
    scene.reserves.want({"small": (ONE, 1)}, ())
    scene.reserves.expect([make_replica("large", 3)])
    scene.reserves.standbys.refill()
    assert scene.reserves.shown().held == ()
    scene.reserves.expect(())
    assert scene.reserves.shown().held == (make_replica("small", 3),)
    scene.reserves.standbys.stop()


def test_a_start_is_expected_to_take_what_its_way_takes() -> None:
    scene = Scene()
    for way, seconds in ((Way.COLD, 240.0), (Way.WAKE, 0.7)):
        scene.times.note("large", way, seconds)
    scene.sleepers.asleep.append(make_replica("large", 1))
    assert scene.reserves.expected_s(make_replica("large", 1)) == 0.7
    assert scene.reserves.expected_s(make_replica("large", 2)) == 240.0
    assert scene.reserves.shown().prepared == (make_replica("large", 1),)
    assert scene.reserves.cold_s()["large"] == 240.0
