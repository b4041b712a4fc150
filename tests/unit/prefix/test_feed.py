"""KV events reach the index in order, whatever is lost on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.asyncio
from sglang.srt.disaggregation.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVEventBatch,
    StorageMedium,
    ZmqEventPublisher,
)

from cascadia_sglang.messages import EventSource
from cascadia_sglang.prefix.events import take_batch
from cascadia_sglang.prefix.feed import Feed, FeedCounts, Order
from cascadia_sglang.prefix.index import PrefixIndex

LIMIT_S = 10.0


def stored(*hashes: int, medium: StorageMedium | None = StorageMedium.GPU) -> BlockStored:
    return BlockStored(
        block_hashes=list(hashes),
        parent_block_hash=None,
        token_ids=[7] * 16 * len(hashes),
        block_size=16,
        lora_id=None,
        medium=medium,
    )


def batch(*events: object) -> KVEventBatch:
    return KVEventBatch(ts=1.0, events=list(events))


def encoded(*events: object) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(batch(*events))


def make_index() -> PrefixIndex:
    index = PrefixIndex(1000)
    index.add_worker("w")
    return index


def held(index: PrefixIndex, *hashes: int) -> int:
    return index.held(np.array(hashes), ["w"])[0]


def test_events_of_the_device_count_and_others_do_not() -> None:
    index = make_index()
    take_batch(index, "w", encoded(stored(1, 2, 3), stored(9, medium=StorageMedium.CPU)))
    assert (held(index, 1, 2, 3), held(index, 9)) == (3, 0)
    take_batch(index, "w", encoded(BlockRemoved(block_hashes=[2], medium=StorageMedium.GPU)))
    take_batch(index, "w", encoded(BlockRemoved(block_hashes=[1], medium=StorageMedium.CPU)))
    assert (held(index, 1), held(index, 2), held(index, 3)) == (1, 0, 1)
    take_batch(index, "w", encoded(AllBlocksCleared()))
    assert index.blocks == 0


@pytest.mark.parametrize("payload", [b"", b"\x93", b"\xc0", encoded(stored(1))[:-3]])
def test_what_is_no_batch_is_said_in_one_line(payload: bytes) -> None:
    index = make_index()
    with pytest.raises(ValueError, match="worker w sent no batch of KV events: ") as caught:
        take_batch(index, "w", payload)
    assert "\n" not in str(caught.value)
    assert index.blocks == 0


def test_what_a_number_means() -> None:
    order = Order()
    assert [order.judge(number) for number in (0, 1)] == ["next", "gap"]
    order.taken(0)
    order.taken(1)
    assert [order.judge(number) for number in (1, 2, 3, 0)] == ["old", "next", "gap", "old"]


@contextlib.asynccontextmanager
async def following(
    folder: Path, index: PrefixIndex
) -> AsyncIterator[tuple[EventSource, FeedCounts]]:
    source = EventSource(
        endpoint=f"ipc://{folder}/events", replay_endpoint=f"ipc://{folder}/replay"
    )
    counts = FeedCounts()
    context = zmq.asyncio.Context()
    task = asyncio.create_task(Feed(index, "w", source, context, counts).run())
    try:
        yield source, counts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        context.destroy(linger=0)


async def until(is_reached: object) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not is_reached():  # type: ignore[operator]
            await asyncio.sleep(0.01)


def publisher(source: EventSource, buffer_steps: int = 100) -> ZmqEventPublisher:
    return ZmqEventPublisher(
        0, source.endpoint, source.replay_endpoint, buffer_steps=buffer_steps, bind=True
    )


def run_with_events(
    folder: Path, before: Sequence[object], after: Sequence[object], buffer_steps: int = 100
) -> tuple[PrefixIndex, FeedCounts]:
    """Batches that SGLang published before anyone listened, and others after."""
    index = make_index()

    async def main() -> FeedCounts:
        source = EventSource(
            endpoint=f"ipc://{folder}/events", replay_endpoint=f"ipc://{folder}/replay"
        )
        sender = publisher(source, buffer_steps)
        try:
            for event in before:
                sender.publish(batch(event))
            await until(lambda: sender._event_queue.empty())
            await asyncio.sleep(0.3)
            async with following(folder, index) as (_, counts):
                await asyncio.sleep(0.5)
                for event in after:
                    sender.publish(batch(event))
                await until(lambda: held(index, 100 + len(after) - 1) == 1)
            return counts
        finally:
            sender.shutdown()

    return index, asyncio.run(main())


def test_what_was_published_before_it_listened_is_asked_for_again(tmp_path: Path) -> None:
    before = [stored(1, 2), BlockRemoved(block_hashes=[2], medium=StorageMedium.GPU)]
    index, counts = run_with_events(tmp_path, before, [stored(100), stored(101)])
    assert (held(index, 1), held(index, 2)) == (1, 0)
    assert (counts.batches, counts.drops) == (4, 0)


def test_what_the_worker_no_longer_has_makes_the_rest_doubtful(tmp_path: Path) -> None:
    """Five batches, of which it keeps two: what the first three said is not known."""
    before = [stored(number) for number in range(1, 6)]
    index, counts = run_with_events(tmp_path, before, [stored(100)], buffer_steps=2)
    assert counts.drops == 1
    assert [held(index, number) for number in range(1, 6)] == [0, 0, 0, 1, 1]


def test_a_missed_batch_is_asked_for_again(tmp_path: Path) -> None:
    index = make_index()

    async def main() -> FeedCounts:
        async with following(tmp_path, index) as (source, counts):
            sender = publisher(source)
            try:
                sender.publish(batch(stored(1)))
                await until(lambda: held(index, 1) == 1)
                # As if the socket had dropped one: it is kept for those who ask.
                number = next(sender._seq_gen)
                sender._buffer.append((number, encoded(stored(2))))
                sender.publish(batch(stored(3)))
                await until(lambda: held(index, 3) == 1)
            finally:
                sender.shutdown()
            return counts

    counts = asyncio.run(main())
    assert (counts.gaps, counts.drops) == (1, 0)
    assert held(index, 1, 2, 3) == 3


def test_a_malformed_batch_drops_what_is_known_and_the_feed_goes_on(tmp_path: Path) -> None:
    index = make_index()

    async def main() -> FeedCounts:
        async with following(tmp_path, index) as (source, counts):
            sender = publisher(source)
            try:
                sender.publish(batch(stored(1)))
                await until(lambda: held(index, 1) == 1)
                sender.publish(batch("nonsense"))
                await until(lambda: counts.drops == 1)
                assert held(index, 1) == 0
                sender.publish(batch(stored(4)))
                await until(lambda: held(index, 4) == 1)
            finally:
                sender.shutdown()
            return counts

    assert asyncio.run(main()).batches == 2
