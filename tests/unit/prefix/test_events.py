"""Batches of KV events decode as SGLang's own structs encode them, and nothing else does."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from sglang.srt.disaggregation.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVEventBatch,
    StorageMedium,
)

from cascadia_sglang.prefix.block_table import Hashes
from cascadia_sglang.prefix.events import take_batch
from cascadia_sglang.prefix.index import PrefixIndex

MOST, LEAST = 2**63 - 1, -(2**63)


def stored(*hashes: int, medium: StorageMedium | None = StorageMedium.GPU) -> BlockStored:
    """With every optional field set, as a request with an adapter and a session leaves it."""
    return BlockStored(
        block_hashes=list(hashes),
        parent_block_hash=17,
        token_ids=[7] * 16 * len(hashes),
        block_size=16,
        lora_id=3,
        medium=medium,
        cache_salt="salt",
        session_id="session",
        lora_name="adapter",
    )


def encoded(*events: object, rank: int | None = 0) -> bytes:
    return msgspec.msgpack.encode(KVEventBatch(ts=1.0, events=list(events), attn_dp_rank=rank))


def index_after(*payloads: bytes) -> PrefixIndex:
    index = PrefixIndex(1000)
    index.add_worker("w")
    index.add_worker("other")
    for payload in payloads:
        take_batch(index, "w", payload)
    return index


def held(index: PrefixIndex, *hashes: int) -> list[int]:
    """Of each hash alone, whether the worker holds it."""
    return [index.held(np.array([block_hash]), ["w"])[0] for block_hash in hashes]


@pytest.mark.parametrize("rank", [None, 0, 5])
def test_a_batch_of_any_rank_is_taken_with_all_its_optional_fields(rank: int | None) -> None:
    assert held(index_after(encoded(stored(1, 2), rank=rank)), 1, 2, 3) == [1, 1, 0]


@pytest.mark.parametrize(
    ("medium", "counts"),
    [(None, 1), *((storage, int(storage is StorageMedium.GPU)) for storage in StorageMedium)],
    ids=str,
)
def test_only_the_device_counts_in_both_directions(
    medium: StorageMedium | None, counts: int
) -> None:
    assert held(index_after(encoded(stored(1, medium=medium))), 1) == [counts]
    gone = encoded(BlockRemoved(block_hashes=[1], medium=medium))
    assert held(index_after(encoded(stored(1)), gone), 1) == [1 - counts]


def test_events_of_one_batch_are_taken_in_their_order() -> None:
    gone = BlockRemoved(block_hashes=[1], medium=StorageMedium.GPU)
    assert held(index_after(encoded(stored(1), gone)), 1) == [0]
    assert held(index_after(encoded(gone, stored(1))), 1) == [1]
    assert held(index_after(encoded(stored(1), AllBlocksCleared(), stored(2))), 1, 2) == [0, 1]


def test_events_of_a_kind_are_taken_in_one_call() -> None:
    class CountedIndex(PrefixIndex):
        calls = 0

        def stored(self, worker_id: str, hashes: Sequence[int] | Hashes) -> None:
            self.calls += 1
            super().stored(worker_id, hashes)

    index = CountedIndex(1000)
    index.add_worker("w")
    gone = BlockRemoved(block_hashes=[2], medium=StorageMedium.GPU)
    elsewhere = stored(9, medium=StorageMedium.CPU)
    take_batch(index, "w", encoded(stored(1), elsewhere, stored(2), gone, stored(3), stored(4)))
    assert index.calls == 2
    assert held(index, 1, 2, 3, 4, 9) == [1, 0, 1, 1, 0]


def test_the_ends_of_the_range_of_hashes_are_kept_apart() -> None:
    index = index_after(encoded(stored(MOST, LEAST, -1)))
    assert held(index, MOST, LEAST, -1, 0) == [1, 1, 1, 0]


def test_what_one_worker_says_is_not_held_of_another() -> None:
    index = index_after(encoded(stored(1)))
    assert index.held(np.array([1]), ["other", "w", "unknown"]) == [0, 1, 0]


def test_a_field_of_a_later_sglang_changes_nothing() -> None:
    event = {"type": "BlockStored", "block_hashes": [1], "medium": "GPU", "from_later": [1, 2]}
    assert held(index_after(msgspec.msgpack.encode([1.0, [event], 0])), 1) == [1]


@pytest.mark.parametrize(
    "batch",
    [
        [1.0, [{"type": "BlockMoved", "block_hashes": [2]}], 0],
        [1.0, [{"block_hashes": [2]}], 0],
        [1.0, [{"type": "BlockStored", "medium": "GPU"}], 0],
        [1.0, [{"type": "BlockStored", "block_hashes": ["2"]}], 0],
        [1.0],
        {"ts": 1.0, "events": []},
    ],
    ids=["unknown type", "no type", "no hashes", "hashes of text", "no events", "a map"],
)
def test_a_batch_of_another_shape_is_an_error_and_changes_nothing(batch: object) -> None:
    index = index_after(encoded(stored(1)))
    first = msgspec.to_builtins(stored(9))
    if isinstance(batch, list) and len(batch) > 1:
        # A good event before the bad one is not taken either.
        batch[1].insert(0, {"type": "BlockStored", **first})
    with pytest.raises(ValueError, match=r"^worker w sent no batch of KV events: ") as caught:
        take_batch(index, "w", msgspec.msgpack.encode(batch))
    assert "\n" not in str(caught.value)
    assert held(index, 1, 9) == [1, 0]
