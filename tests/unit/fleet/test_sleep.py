"""Workers that sleep, in front of an engine that ends where SGLang's scheduler would."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.engine.control import ControlPlane
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.fleet.sleep import MEMORY_S, Sleepers
from cascadia_sglang.launch import sleep_check
from cascadia_sglang.launch.sleep_check import check_sleep
from cascadia_sglang.pool.pool import Worker, WorkerState, WritablePool
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.testing.time import run_in_virtual_time

LIMITS = Limits(context_tokens=9, input_tokens=9, vocabulary=9)
SMALL = RunningReplica(pool="small", gpu="cuda", node=0, base_gpu_id=1)


class Engine:
    """A scheduler: when it will be idle, what it has released, and whether it lives.

    As SGLang's it ends where memory is released under a step, or resumed that was not released.
    """

    def __init__(self, busy_s: float = 0.0, hangs: bool = False) -> None:
        self.alive = True
        self.released = False
        self.seen: list[str] = []
        self.control: ControlPlane | None = None
        self._busy_s = busy_s
        self._hangs = hangs

    def send_pyobj(self, message: Any, **_: Any) -> None:
        name = type(message).__name__.removesuffix("ReqInput")
        self.seen.append(name)
        answers = {
            "FlushCache": self._flush,
            "ReleaseMemoryOccupation": self._release,
            "ResumeMemoryOccupation": self._resume,
        }
        answer = answers[name](message, asyncio.get_running_loop().time())
        self.task = asyncio.ensure_future(answer)

    async def _flush(self, message: Any, now_s: float) -> None:
        wait_s = min(message.timeout_s, max(0.0, self._busy_s - now_s))
        await asyncio.sleep(wait_s)
        self._reply(message, success=now_s + wait_s >= self._busy_s)

    async def _release(self, message: Any, now_s: float) -> None:
        self.alive = not self.released and now_s >= self._busy_s
        self.released = True
        if self.alive and not self._hangs:
            self._reply(message)

    async def _resume(self, message: Any, _: float) -> None:
        self.alive, self.released = self.released, False
        if self.alive:
            self._reply(message)

    def _reply(self, message: Any, success: bool = True) -> None:
        assert self.control is not None
        mark = message.http_worker_ipc
        self.control.receive(SimpleNamespace(http_worker_ipc=mark, success=success))


class Scene:
    """One ready worker in front of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lost: list[str] = []
        self.pool = WritablePool()
        self.control = ControlPlane(self.pool, self._lose, self.pool.note_released)
        engine.control = self.control
        handle = SimpleNamespace(replica=SMALL, is_alive=lambda: engine.alive)
        self.worker = Worker(worker_id="small-0", tiers=(0,), handle=handle, socket=engine)
        self.pool.add(self.worker)
        self.pool.admit(self.worker, LIMITS)
        self.sleepers = Sleepers(self.pool, self.control)

    def _lose(self, worker: Worker, why: str) -> None:
        self.lost.append(why)
        self.pool.remove(worker)
        self.control.gone(worker)

    async def asleep(self) -> bool:
        self.pool.drain(self.worker)
        return await self.sleepers.put(self.worker)


def test_a_drained_worker_sleeps_and_is_woken_at_its_own_place() -> None:
    async def main() -> None:
        scene = Scene(Engine())
        assert await scene.asleep()
        assert scene.worker.state is WorkerState.ASLEEP
        assert scene.engine.released
        assert scene.sleepers.places() == (SMALL,)
        elsewhere = RunningReplica(pool="small", gpu="cuda", node=0, base_gpu_id=2)
        other = RunningReplica(pool="large", gpu="cuda", node=0, base_gpu_id=1)
        assert await scene.sleepers.wake(elsewhere) is None
        assert await scene.sleepers.wake(other) is None
        assert await scene.sleepers.wake(SMALL) is scene.worker
        assert not scene.engine.released
        assert scene.worker.state is WorkerState.STARTING
        # It takes attempts only once it is admitted, and nobody else wakes it.
        assert scene.pool.candidates(0) == ()
        assert scene.sleepers.find(SMALL) is None
        scene.pool.admit(scene.worker, LIMITS)
        assert scene.pool.candidates(0) == (scene.worker,)
        assert scene.lost == []
        # And again: a second round finds the same engine.
        assert await scene.asleep()
        assert await scene.sleepers.wake(SMALL) is scene.worker

    run_in_virtual_time(main())


def test_memory_is_released_only_once_the_engine_is_idle() -> None:
    async def main() -> None:
        """A step that overlaps the last answer is still under way."""
        scene = Scene(Engine(busy_s=asyncio.get_running_loop().time() + 2.0))
        assert await scene.asleep()
        assert scene.engine.alive
        assert scene.engine.seen == ["FlushCache", "ReleaseMemoryOccupation"]

    run_in_virtual_time(main())


def test_an_engine_that_does_not_become_idle_is_to_end() -> None:
    async def main() -> None:
        scene = Scene(Engine(busy_s=asyncio.get_running_loop().time() + 60.0))
        assert not await scene.asleep()
        assert scene.engine.seen == ["FlushCache"]
        assert scene.engine.alive

    run_in_virtual_time(main())


def test_a_worker_with_attempts_left_is_to_end() -> None:
    async def main() -> None:
        scene = Scene(Engine())
        scene.pool.assign("r", scene.worker)
        assert not await scene.asleep()
        assert scene.engine.seen == []

    run_in_virtual_time(main())


def test_one_that_hangs_while_it_falls_asleep_is_lost() -> None:
    async def main() -> float:
        scene = Scene(Engine(hangs=True))
        began_s = asyncio.get_running_loop().time()
        assert not await scene.asleep()
        assert len(scene.lost) == 1
        assert scene.sleepers.places() == ()
        return asyncio.get_running_loop().time() - began_s

    assert run_in_virtual_time(main()) == pytest.approx(MEMORY_S)


def test_one_that_ended_in_its_sleep_is_not_woken() -> None:
    async def main() -> None:
        scene = Scene(Engine())
        assert await scene.asleep()
        scene.engine.alive = False
        assert scene.sleepers.places() == ()
        assert await scene.sleepers.wake(SMALL) is None

    run_in_virtual_time(main())


def test_one_that_is_lost_while_it_wakes_is_none() -> None:
    async def main() -> None:
        scene = Scene(Engine())
        assert await scene.asleep()
        waking = asyncio.create_task(scene.sleepers.wake(SMALL))
        scene.engine.released = False  # so that it ends
        await asyncio.sleep(0.1)
        scene._lose(scene.worker, "its process ended")
        assert await waking is None

    run_in_virtual_time(main())


def test_sleep_is_refused_where_the_memory_saver_does_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=r"planner\.sleep is true, allowed on CUDA .* has cpu"):
        check_sleep("cpu")
    specs: list[object] = []
    monkeypatch.setattr(
        sleep_check.importlib.util, "find_spec", lambda _: specs[0] if specs else None
    )
    with pytest.raises(ConfigError, match="torch-memory-saver is not installed"):
        check_sleep("cuda")
    specs.append(object())
    check_sleep("cuda")
    monkeypatch.setenv("SGLANG_MEMORY_SAVER_CUDA_GRAPH", "1")
    with pytest.raises(ConfigError, match="breakable CUDA graphs refuse the memory saver"):
        check_sleep("cuda")
