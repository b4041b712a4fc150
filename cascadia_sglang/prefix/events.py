"""SGLang's KV events, as they come over the wire.

A batch is an array of a time, events, and a rank; an event is a map with its `type`
(`srt/disaggregation/kv_events.py` of SGLang 0.5.23). Of the tokens in them nothing is kept.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec

from cascadia_sglang.prefix.index import PrefixIndex

# Where a worker can use a block at once. What lies in the host's memory or on a disk has to be
# copied first, which its own hierarchical cache does.
DEVICE = "GPU"


class BlockStored(msgspec.Struct, tag=True, kw_only=True):
    """A worker holds these blocks, each of which follows the one before."""

    block_hashes: list[int]
    medium: str | None = None


class BlockRemoved(msgspec.Struct, tag=True, kw_only=True):
    """A worker no longer holds these blocks."""

    block_hashes: list[int]
    medium: str | None = None


class AllBlocksCleared(msgspec.Struct, tag=True, kw_only=True):
    """A worker holds nothing any more."""


Event = BlockStored | BlockRemoved | AllBlocksCleared


class _Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[Event]
    rank: Any = None


_decoder = msgspec.msgpack.Decoder(_Batch)


def take_batch(index: PrefixIndex, worker_id: str, payload: bytes) -> None:
    """Bring the index up to date with a batch of a worker's events.

    Raises:
        ValueError: if it is no batch; nothing has changed then.
    """
    try:
        batch = _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"worker {worker_id} sent no batch of KV events: {error}") from error
    # A long prompt comes as one event for each block. One call for each would take too long.
    for kind, events in groupby(filter(_is_of_device, batch.events), type):
        hashes = [block for event in events for block in _hashes(event)]
        if kind is BlockStored:
            index.stored(worker_id, hashes)
        elif kind is BlockRemoved:
            index.removed(worker_id, hashes)
        else:
            index.cleared(worker_id)


def _is_of_device(event: Event) -> bool:
    return isinstance(event, AllBlocksCleared) or event.medium in (None, DEVICE)


def _hashes(event: Event) -> list[int]:
    return [] if isinstance(event, AllBlocksCleared) else event.block_hashes
