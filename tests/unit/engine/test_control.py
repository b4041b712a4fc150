"""Control calls over sockets that a test holds the other end of."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.engine.control import CALL_S, ControlPlane
from cascadia_sglang.engine.target_tiers import set_target_tier
from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import Worker, WritablePool
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.testing.time import run_in_virtual_time


class Peer:
    """A worker's side: what it was sent, and replies on demand."""

    def __init__(self, worker_id: str, tier: int) -> None:
        self.messages: list[Any] = []
        self.worker = Worker(worker_id=worker_id, tiers=(tier,), handle=None)
        # As `sock_send` leaves a message: the mark is read when it is sent.
        self.worker.socket = SimpleNamespace(
            send_pyobj=lambda message, **_: self.messages.append(message.http_worker_ipc)
        )

    def reply(self, number: int = -1, success: bool = True) -> Any:
        return SimpleNamespace(
            http_worker_ipc=self.messages[number], success=success, who=self.worker.worker_id
        )


class GetInternalStateReq(SimpleNamespace):
    """A message that only asks."""


class Scene:
    """Two workers of tier 0, one of tier 1."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.pool = WritablePool()
        self.control = ControlPlane(self.pool, self._lose, self.pool.note_released)
        self.peers = [Peer("small-0", 0), Peer("small-1", 0), Peer("large-2", 1)]
        for peer in self.peers:
            self.pool.add(peer.worker)
            self.pool.admit(peer.worker, Limits(context_tokens=9, input_tokens=9, vocabulary=9))

    def _lose(self, worker: Worker, why: str) -> None:
        assert why
        self.lost.append(worker.worker_id)
        self.pool.remove(worker)
        self.control.gone(worker)

    def begin(self, kind: str = "state") -> "asyncio.Task[list[Any]]":
        message = GetInternalStateReq(http_worker_ipc=None)
        return asyncio.create_task(self.control.call(kind, message))

    def change(self) -> "asyncio.Task[list[Any]]":
        """A call that may end a worker."""
        return asyncio.create_task(self.control.call("set", SimpleNamespace(http_worker_ipc=None)))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_call_waits_for_every_worker_there_is() -> None:
    async def main() -> list[Any]:
        scene = Scene()
        call = scene.begin()
        await turns()
        for peer in scene.peers[:2]:
            scene.control.receive(peer.reply())
        await turns()
        assert not call.done()
        scene.control.receive(scene.peers[2].reply())
        return await call

    replies = run_in_virtual_time(main())
    assert [reply.who for reply in replies] == ["small-0", "small-1", "large-2"]


def test_a_failure_comes_first() -> None:
    async def main() -> list[Any]:
        scene = Scene()
        call = scene.begin()
        await turns()
        for peer in scene.peers:
            scene.control.receive(peer.reply(success=peer is not scene.peers[2]))
        return await call

    assert run_in_virtual_time(main())[0].who == "large-2"


def test_a_worker_that_joins_meanwhile_is_no_member_and_one_that_goes_has_answered() -> None:
    async def main() -> list[Any]:
        scene = Scene()
        late = Peer("small-9", 0)
        call = scene.begin()
        await turns()
        scene.pool.add(late.worker)
        scene.pool.admit(late.worker, Limits(context_tokens=9, input_tokens=9, vocabulary=9))
        scene._lose(scene.peers[0].worker, "it died")
        for peer in scene.peers[1:]:
            scene.control.receive(peer.reply())
        assert late.messages == []
        return await call

    assert [reply.who for reply in run_in_virtual_time(main())] == ["small-1", "large-2"]


def test_a_worker_that_misses_a_call_is_lost_and_its_late_reply_answers_nothing() -> None:
    async def main() -> None:
        scene = Scene()
        loop = asyncio.get_running_loop()
        stopped, *others = scene.peers
        first = scene.begin()
        await turns()
        late = stopped.reply()
        for peer in others:
            scene.control.receive(peer.reply())
        assert len(await first) == 2
        assert (scene.lost, loop.time()) == (["small-0"], CALL_S)
        second = scene.begin()
        await turns()
        scene.control.receive(late)
        scene.control.receive(others[0].reply())
        await turns()
        assert not second.done()
        scene.control.receive(others[1].reply())
        assert [reply.who for reply in await second] == ["small-1", "large-2"]

    run_in_virtual_time(main())


def test_calls_of_one_kind_follow_one_another_and_others_do_not_wait() -> None:
    async def main() -> None:
        scene = Scene()
        first, second, other = scene.begin(), scene.begin(), scene.begin("flush")
        await turns()
        assert [len(peer.messages) for peer in scene.peers] == [2, 2, 2]
        for peer in scene.peers:
            scene.control.receive(peer.reply(0))
        await first
        await turns()
        assert [len(peer.messages) for peer in scene.peers] == [3, 3, 3]
        for peer in scene.peers:
            scene.control.receive(peer.reply(1))
            scene.control.receive(peer.reply(2))
        await asyncio.gather(second, other)

    run_in_virtual_time(main())


def test_a_call_for_one_tier_reaches_its_workers_alone() -> None:
    async def main() -> None:
        scene = Scene()
        set_target_tier(1)
        call = scene.begin()
        await turns()
        assert [len(peer.messages) for peer in scene.peers] == [0, 0, 1]
        scene.control.receive(scene.peers[2].reply())
        assert len(await call) == 1

    run_in_virtual_time(main())


def test_a_call_that_nobody_can_answer_is_a_503() -> None:
    async def main() -> None:
        scene = Scene()
        for peer in scene.peers:
            scene.pool.remove(peer.worker)
        with pytest.raises(RequestError) as caught:
            await scene.control.call("state", SimpleNamespace(http_worker_ipc=None))
        assert caught.value.status == 503

    run_in_virtual_time(main())


# Calls that may end a worker


def test_a_call_that_may_end_a_worker_goes_to_one_before_all_others() -> None:
    async def main() -> list[Any]:
        scene = Scene()
        call = scene.change()
        await turns()
        first, *others = scene.peers
        assert [len(peer.messages) for peer in scene.peers] == [1, 0, 0]
        scene.control.receive(first.reply())
        await turns()
        assert [len(peer.messages) for peer in scene.peers] == [1, 1, 1]
        for peer in others:
            scene.control.receive(peer.reply())
        return await call

    replies = run_in_virtual_time(main())
    assert [reply.who for reply in replies] == ["small-0", "small-1", "large-2"]


def test_a_call_that_ends_its_first_worker_reaches_no_other() -> None:
    async def main() -> None:
        scene = Scene()
        call = scene.change()
        await turns()
        assert scene.control.is_awaited(scene.peers[0].worker)
        scene._lose(scene.peers[0].worker, "it died")
        with pytest.raises(RequestError, match="small-0 did not survive it"):
            await call
        assert [len(peer.messages) for peer in scene.peers] == [1, 0, 0]

    run_in_virtual_time(main())


def test_a_worker_is_not_excused_by_a_call_that_only_asks() -> None:
    async def main() -> None:
        scene = Scene()
        call = scene.begin()
        await turns()
        assert not scene.control.is_awaited(scene.peers[0].worker)
        call.cancel()

    run_in_virtual_time(main())


def memory_call(name: str, tags: list[str] | None = None) -> Any:
    """A message as SGLang names it."""
    return type(name, (SimpleNamespace,), {})(http_worker_ipc=None, tags=tags)


def release(tags: list[str] | None = None) -> Any:
    return memory_call("ReleaseMemoryOccupationReqInput", tags)


def resume(tags: list[str] | None = None) -> Any:
    return memory_call("ResumeMemoryOccupationReqInput", tags)


async def answered(scene: Scene, message: Any) -> None:
    """Make a call to tier 1, whose one worker answers."""
    set_target_tier(1)
    call = asyncio.create_task(scene.control.call("memory", message))
    await turns()
    if scene.peers[2].messages:
        scene.control.receive(scene.peers[2].reply())
    await call


def test_memory_is_not_released_under_a_request() -> None:
    async def main() -> list[Any]:
        scene = Scene()
        scene.pool.assign("r1", scene.peers[2].worker)
        with pytest.raises(RequestError, match="large-2 has 1 requests") as caught:
            await answered(scene, release())
        assert caught.value.status == 400
        return scene.peers[2].messages

    assert run_in_virtual_time(main()) == []


def test_a_worker_without_its_memory_takes_no_attempts_until_it_has_it_again() -> None:
    async def main() -> None:
        scene = Scene()
        worker = scene.peers[2].worker
        await answered(scene, release(["weights"]))
        assert scene.pool.candidates(1) == ()
        assert worker not in scene.pool.ready()
        await answered(scene, release(["kv_cache"]))
        await answered(scene, resume(["weights"]))
        assert scene.pool.candidates(1) == ()
        await answered(scene, resume(["kv_cache"]))
        assert scene.pool.candidates(1) == (worker,)

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        ([release(), release()], "large-2: cuda_graph is released already"),
        ([resume()], "large-2: cuda_graph was not released"),
        ([release(["weights"]), resume()], "large-2: cuda_graph was not released"),
        ([release(["nothing"])], "tags has 'nothing', allowed: kv_cache, weights, cuda_graph"),
    ],
)
def test_memory_calls_out_of_order_reach_no_worker(calls: list[Any], says: str) -> None:
    async def main() -> int:
        scene = Scene()
        for call in calls[:-1]:
            await answered(scene, call)
        with pytest.raises(RequestError, match=says) as caught:
            await answered(scene, calls[-1])
        assert caught.value.status == 400
        return len(scene.peers[2].messages)

    assert run_in_virtual_time(main()) == len(calls) - 1
