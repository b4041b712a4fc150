"""Starts on a device that workers share."""

import asyncio
import contextlib

import msgspec

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.fleet.starts import Turns


def at(pool: str, device: int, tp_size: int = 1) -> RunningReplica:
    return RunningReplica(pool=pool, gpu="cuda", tp_size=tp_size, node=0, base_gpu_id=device)


def test_of_a_shared_device_one_starts_at_a_time_and_nobody_is_passed() -> None:
    turns = Turns()
    wide, first, second, apart = at("wide", 0, 2), at("first", 0), at("second", 1), at("apart", 2)
    assert turns.next([first, wide, second, apart], []) == [first, apart]
    # What is behind the wide one waits too, or that might wait for ever.
    assert turns.next([wide, second], [first]) == []
    assert turns.next([wide, second], []) == [wide]
    assert turns.next([second], []) == [second]


async def test_turns_of_the_running_server_follow_one_another() -> None:
    turns = Turns()
    log: list[str] = []

    async def start(replica: RunningReplica) -> None:
        async with turns.turn(replica):
            log.append(f"{replica.pool} begins")
            await asyncio.sleep(0.01)
            log.append(f"{replica.pool} is ready")

    wide = at("wide", 0, 2)
    async with asyncio.timeout(5):
        await asyncio.gather(
            *(start(replica) for replica in (at("a", 0), at("b", 0), wide, at("c", 1)))
        )
    on_first = [line for line in log if line.split()[0] in ("a", "b", "wide")]
    on_second = [line for line in log if line.split()[0] in ("c", "wide")]
    for lines in (on_first, on_second):
        begun = [line.split()[0] for line in lines[::2]]
        assert lines == [f"{name} {what}" for name in begun for what in ("begins", "is ready")]


async def test_a_start_that_fails_gives_the_turn_back() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            async with asyncio.timeout(5), turns.turn(at("a", 0)):
                raise ValueError("no")
        except ValueError:
            pass


async def test_who_lies_elsewhere_or_on_no_device_is_not_waited_for() -> None:
    turns = Turns()
    other_node = msgspec.structs.replace(at("c", 0), node=1)
    on_host = [at("d", -1), at("e", -1)]
    async with asyncio.timeout(5), contextlib.AsyncExitStack() as held:
        for replica in (at("a", 0), at("b", 1), other_node, *on_host):
            await held.enter_async_context(turns.turn(replica))
