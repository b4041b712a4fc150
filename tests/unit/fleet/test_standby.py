"""Started workers outside the pool's capacity: so many of each pool, whatever becomes of them."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from cascadia_sglang.capacity.types import Capacity, RunningReplica
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.fleet import standby as module
from cascadia_sglang.fleet.standby import Place, Standbys
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool

ONE = Capacity(replicas=1)


def make_replica(pool: str = "small", device: int = 3, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cpu", node=0, base_gpu_id=device, tp_size=tp_size)


class Starts:
    """Starts workers at once; `failing` of the next ones do not."""

    def __init__(self, failing: int = 0) -> None:
        self.shapes: list[RunningReplica] = []
        self.failing = failing
        self._numbers = itertools.count()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, shape: RunningReplica) -> Worker:
        self.shapes.append(shape)
        await self.may_end.wait()
        if self.failing:
            self.failing -= 1
            raise WorkerError("it does not start")
        handle = SimpleNamespace(replica=shape, is_alive=lambda: True)
        name = f"{shape.pool}-{next(self._numbers)}"
        return Worker(worker_id=name, tiers=(0,), handle=handle)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    naps: Callable[[float], Awaitable[None]] = lambda _seconds: sleep(0)  # noqa: E731
    monkeypatch.setattr(module.asyncio, "sleep", naps)


def nowhere(pool: str, _: Capacity, __: list[RunningReplica]) -> RunningReplica:
    """As on a host, where a standby lies on no device."""
    return make_replica(pool, -1)


def make(starts: Starts, where: Place = nowhere, **counts: int) -> Standbys:
    standbys = Standbys(WritablePool(), starts, where)
    standbys.want({pool: (ONE, count) for pool, count in counts.items()})
    return standbys


async def filled(starts: Starts, where: Place = nowhere, **counts: int) -> Standbys:
    standbys = make(starts, where, **counts)
    standbys.refill()
    await settled()
    return standbys


async def test_so_many_of_each_pool_are_started_once() -> None:
    starts = Starts()
    standbys = make(starts, small=2, large=1, middle=0)
    standbys.refill()
    standbys.refill()  # those on their way count
    await settled()
    standbys.refill()
    await settled()
    assert sorted(shape.pool for shape in starts.shapes) == ["large", "small", "small"]
    # None lies on a device that a plan could give away.
    assert {shape.base_gpu_id for shape in starts.shapes} == {-1}


async def test_one_that_is_taken_is_at_its_new_place_and_followed_by_another() -> None:
    starts = Starts()
    standbys = await filled(starts, small=1)
    worker = standbys.take(make_replica())
    assert worker is not None
    assert worker.handle.replica == make_replica()
    # Its loss is that of a worker that starts, and nobody is given it twice.
    assert worker.state is WorkerState.STARTING
    assert standbys.take(make_replica()) is None
    standbys.refill()
    await settled()
    assert len(starts.shapes) == 2
    assert standbys.take(make_replica()) is not None


@pytest.mark.parametrize(
    "replica", [make_replica("large"), make_replica(tp_size=2)], ids=["pool", "shape"]
)
async def test_one_of_another_pool_or_shape_stays(replica: RunningReplica) -> None:
    standbys = await filled(Starts(), small=1)
    assert standbys.take(replica) is None
    assert standbys.take(make_replica()) is not None


async def test_one_that_is_lost_is_replaced_and_not_given_out() -> None:
    starts = Starts()
    standbys = await filled(starts, small=1)
    (lost,) = standbys._waiting["small"]
    standbys.lost(lost)
    assert standbys.take(make_replica()) is None
    await settled()
    assert len(starts.shapes) == 2
    assert standbys.take(make_replica()) not in (None, lost)


async def test_one_that_has_ended_unnoticed_is_not_given_out() -> None:
    standbys = await filled(Starts(), small=2)
    ended, other = standbys._waiting["small"]
    ended.handle.is_alive = lambda: False
    assert standbys.take(make_replica()) is other
    assert standbys.take(make_replica()) is None


async def test_one_that_does_not_start_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    starts = Starts(failing=3)
    standbys = make(starts, small=1)
    standbys.refill()
    for _ in range(4):
        await settled()
    assert len(starts.shapes) == 4
    assert standbys.take(make_replica()) is not None
    messages = [record.getMessage() for record in caplog.records if "tried again" in record.message]
    assert [line.split(": ")[0] for line in messages] == [
        f"a standby is tried again in {seconds} s" for seconds in ("0.1", "0.1", "0.2")
    ]


async def test_after_a_stop_nothing_is_started() -> None:
    starts = Starts()
    starts.may_end.clear()
    standbys = make(starts, small=1)
    standbys.refill()
    await settled()
    standbys.stop()
    starts.may_end.set()
    await settled()
    assert standbys.take(make_replica()) is None
    standbys.refill()
    await settled()
    assert len(starts.shapes) == 1


def on_devices(*devices: int) -> Place:
    """Gives these devices out, one after the other."""
    remaining = list(devices)
    return lambda pool, _, __: make_replica(pool, remaining.pop(0)) if remaining else None


async def test_one_that_holds_a_device_serves_there_alone() -> None:
    standbys = await filled(Starts(), on_devices(3), small=1)
    assert standbys.places() == standbys.places(only_ready=True) == (make_replica(device=3),)
    assert not standbys.has(make_replica(device=2))
    assert standbys.take(make_replica(device=2)) is None
    assert standbys.has(make_replica(device=3))
    worker = standbys.take(make_replica(device=3))
    assert worker is not None
    assert worker.handle.replica == make_replica(device=3)
    assert standbys.places() == ()


async def test_one_that_holds_a_device_stands_in_for_a_lost_worker_from_there() -> None:
    standbys = await filled(Starts(), on_devices(3), small=1)
    worker = standbys.take_for_lost(make_replica(device=0))
    assert worker is not None
    assert worker.handle.replica == make_replica(device=3)


async def test_where_no_device_is_free_none_is_started_until_one_is() -> None:
    starts = Starts()
    places = [None, make_replica(device=1)]
    standbys = await filled(starts, lambda *_: places.pop(0), small=1)
    assert starts.shapes == []
    standbys.refill()
    await settled()
    assert starts.shapes == [make_replica(device=1)]


async def test_one_that_starts_holds_its_device_already() -> None:
    starts = Starts()
    starts.may_end.clear()
    standbys = await filled(starts, on_devices(3), small=1)
    assert (standbys.places(), standbys.places(only_ready=True)) == ((make_replica(device=3),), ())
    starts.may_end.set()
    await settled()
