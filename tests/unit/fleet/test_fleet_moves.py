"""A whole fleet on two made-up cards: moves put workers to sleep and wake them, standbys serve."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import zmq
from sglang.srt.managers.io_struct import sock_recv

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.layout import WantedPool, lay_out_workers
from cascadia_sglang.capacity.types import Capacity, Node, RunningReplica
from cascadia_sglang.config.settings import PlannerConfig
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.fleet.start_times import Way
from cascadia_sglang.launch import this_host
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.controller.fakes import Router

START_S = {"process": 3.0, "weights": 2.0}


class Engine:
    """A worker's process: it answers flushes, releases and resumes, and ends where SGLang would."""

    def __init__(self, context: zmq.Context[Any], address: str) -> None:
        self._socket = context.socket(zmq.PULL)
        self._socket.connect(address)
        self.alive = True
        self.released = False
        self.seen: list[str] = []

    def work(self, receive: Callable[[Any], None]) -> None:
        """Answer what has come."""
        while self.alive and self._socket.poll(0):
            message = sock_recv(self._socket)
            name = type(message).__name__.removesuffix("ReqInput")
            self.seen.append(name)
            if name == "ReleaseMemoryOccupation":
                self.alive, self.released = not self.released, True
            elif name == "ResumeMemoryOccupation":
                self.alive, self.released = self.released, False
            if self.alive:
                receive(SimpleNamespace(http_worker_ipc=message.http_worker_ipc, success=True))

    def kill(self) -> None:
        self.alive = False
        self._socket.close(linger=0)


class Launcher:
    """Starts engines at once, and checks that no device has two that hold memory."""

    def __init__(self, folder: Path, cards: int) -> None:
        node = Node(gpu="cuda", devices=cards)
        self.cluster = Cluster(nodes=(node,))
        pools = [
            WantedPool(pool=pool, capacity=Capacity(replicas=1)) for pool in ("small", "large")
        ]
        self.replicas = lay_out_workers(pools, node)
        self.blocks = Blocks()
        self.engines: dict[str, Engine] = {}
        self.places: dict[str, RunningReplica] = {}
        self.context: zmq.Context[Any] = zmq.Context()
        self._folder = folder

    def resolved(self, pool: Any, number: int, replica: RunningReplica) -> Any:
        return SimpleNamespace(pool=pool, worker_id=f"{pool.name}-{number}", replica=replica)

    def start(self, resolved: Any) -> Any:
        pool, worker_id, replica = resolved.pool, resolved.worker_id, resolved.replica
        self.check_free(replica)
        address = f"ipc://{self._folder}/{worker_id}"
        engine = self.engines[worker_id] = Engine(self.context, address)
        self.places[worker_id] = replica
        return SimpleNamespace(
            pool=pool,
            replica=replica,
            input_address=address,
            limits=Limits(context_tokens=99, input_tokens=90, vocabulary=64),
            phases=START_S,
            page_tokens=1,
            capacity_tokens=99,
            events=None,
            pids=[],
            load=lambda: None,
            close=lambda: None,
            wait_for_ready=lambda: None,
            is_alive=lambda: engine.alive,
            end=lambda: WorkerEnd.OUTSIDE,
            kill=engine.kill,
        )

    def check_free(self, replica: RunningReplica) -> None:
        for name, engine in self.engines.items():
            if engine.alive and not engine.released:
                assert self.places[name].base_gpu_id != replica.base_gpu_id, name


class Scene:
    """Two pools on these cards."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, cards: int, **how: Any):
        config = make_cascade("small", "large")
        standby = how.pop("standby", 0)
        tiers = [msgspec.structs.replace(config.tiers[0], standby=standby), config.tiers[1]]
        planner = PlannerConfig(**how)
        self.config = msgspec.structs.replace(config, tiers=tiers, planner=planner)
        self.launcher = Launcher(folder, cards)
        monkeypatch.setattr(this_host, "launcher_of", lambda *_: self.launcher)
        arguments: Any = SimpleNamespace(parallel_sizes=lambda _: {"tp_size": 1, "pp_size": 1})
        self.pool = WritablePool()
        self.fleet = Fleet(self.config, arguments, {}, self.pool, Metrics(()))
        self.mover = Mover(self.fleet, Router(), self.config, Metrics(()))

    async def __aenter__(self) -> "Scene":
        workers = self.fleet.launch(None, None)
        self.fleet.admit_when_ready(workers)
        sender = SimpleNamespace(context=self.launcher.context)
        self.fleet.connect(SimpleNamespace(send_to_scheduler=sender))
        self._work = asyncio.create_task(self._engines())
        self.fleet.standbys.refill()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._work.cancel()
        self.fleet.stop()
        for worker in list(self.pool):
            self.fleet.lose(worker, "the test ends")
        self.launcher.context.term()

    async def _engines(self) -> None:
        while True:
            for engine in list(self.launcher.engines.values()):
                engine.work(self.fleet.control.receive)
            await asyncio.sleep(0.002)

    async def move(self, small: int, large: int) -> list[str]:
        capacities = {"small": Capacity(replicas=small), "large": Capacity(replicas=large)}
        moved = await self.mover.move(capacities)
        return [type(step.action).__name__ for step in moved.steps]

    def shown(self) -> set[tuple[str, str, int]]:
        """Every worker's pool, state and device."""
        return {
            (worker.handle.pool.name, worker.state.value, worker.handle.replica.base_gpu_id)
            for worker in self.pool
        }

    def worker(self, state: str) -> Worker:
        (match,) = [worker for worker in self.pool if worker.state.value == state]
        return match


async def test_two_pools_take_turns_on_a_card_without_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(tmp_path, monkeypatch, 3, sleep=True) as scene:
        assert await scene.move(2, 1) == ["Start"]
        assert scene.shown() == {
            ("small", "ready", 0),
            ("large", "ready", 1),
            ("small", "ready", 2),
        }
        await scene.move(1, 2)
        (asleep,) = [worker for worker in scene.shown() if worker[1] == "asleep"]
        started = len(scene.launcher.engines)
        for small, large in itertools.islice(itertools.cycle([(2, 1), (1, 2)]), 6):
            await scene.move(small, large)
            awake = [worker[0] for worker in scene.shown() if worker[1] == "ready"]
            assert (awake.count("small"), awake.count("large")) == (small, large)
        assert len(scene.launcher.engines) == started
        assert asleep in scene.shown()
        assert scene.fleet.reserves.way(scene.worker("asleep").handle.replica) is Way.WAKE


async def test_without_the_setting_a_worker_that_is_taken_away_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(tmp_path, monkeypatch, 3) as scene:
        await scene.move(2, 1)
        await scene.move(1, 1)
        assert {state for _, state, _ in scene.shown()} == {"ready"}
        assert all(engine.seen == [] for engine in scene.launcher.engines.values())


async def test_one_that_ends_in_its_sleep_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(tmp_path, monkeypatch, 3, sleep=True) as scene:
        await scene.move(2, 1)
        await scene.move(1, 1)
        asleep = scene.worker("asleep")
        asleep.handle.kill()
        # As the supervisor notices it; nobody counts on it, so nothing comes in its place.
        scene.fleet.lose(asleep, "its process ended")
        assert scene.fleet.replicas() == tuple(
            worker.handle.replica for worker in scene.pool.ready()
        )
        await scene.move(2, 1)
        assert len([worker for worker in scene.shown() if worker[0] == "small"]) == 2


async def test_a_standby_holds_a_card_until_a_move_takes_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(tmp_path, monkeypatch, 3, standby=1) as scene:
        while ("small", "standby", 2) not in scene.shown():
            await asyncio.sleep(0.005)
        # Another pool does not get its card.
        with pytest.raises(
            InfeasiblePlanError, match="no 1 devices in a row for a worker of large"
        ):
            await scene.move(1, 2)
        name = scene.worker("standby").worker_id
        assert await scene.move(2, 1) == ["Start"]
        assert ("small", "ready", 2) in scene.shown()
        assert scene.pool.get(name) is not None
        # No card is free for the next one, until a worker goes.
        await asyncio.sleep(0.05)
        assert "standby" not in {state for _, state, _ in scene.shown()}
        await scene.move(1, 1)
        while "standby" not in {state for _, state, _ in scene.shown()}:
            await asyncio.sleep(0.005)


async def test_a_standby_serves_on_its_own_card_for_one_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(tmp_path, monkeypatch, 3, standby=1) as scene:
        while ("small", "standby", 2) not in scene.shown():
            await asyncio.sleep(0.005)
        (lost,) = [w for w in scene.pool.ready() if w.handle.pool.name == "small"]
        scene.fleet.lose(lost, "its process ended")
        while ("small", "ready", 2) not in scene.shown():
            await asyncio.sleep(0.005)
        # The card of the lost one is where the next standby waits.
        while ("small", "standby", 0) not in scene.shown():
            await asyncio.sleep(0.005)
        assert [replica.base_gpu_id for replica in scene.fleet.replicas()] == [1, 2]


async def test_a_start_whose_standbys_find_no_card_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, 2, standby=1)
    with pytest.raises(InfeasiblePlanError, match="no device is free for a standby of small"):
        scene.fleet.launch(None, None)
    assert scene.launcher.engines == {}
