"""Reads a worker's KV events in order, and requests missed ones again.

Every batch has a number. Where one is missing, because this side subscribed late or could not keep
up, the worker is asked for the batches from there on; it keeps the last ten thousand. What it no
longer has makes all that is known of it doubtful, so all of it is dropped and grows anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import zmq
import zmq.asyncio

from cascadia_sglang.messages import EventSource
from cascadia_sglang.prefix.events import take_batch
from cascadia_sglang.prefix.index import PrefixIndex

logger = logging.getLogger(__name__)

REPLAY_S = 2.0
# Batches that may wait here.
HIGH_WATER = 100_000
_END = -1


@dataclass(slots=True, kw_only=True)
class FeedCounts:
    """Of all workers' feeds.

    Attributes:
        batches: that were taken in.
        gaps: times that batches were missing.
        drops: gaps that could not be closed, so that all of the worker's blocks were dropped.
    """

    batches: int = 0
    gaps: int = 0
    drops: int = 0


class Order:
    """Which batch comes next. Pure."""

    def __init__(self) -> None:
        self.expected = 0

    def judge(self, number: int) -> str:
        """`next`: take it. `gap`: earlier ones are missing. `old`: it was taken in already."""
        if number == self.expected:
            return "next"
        return "gap" if number > self.expected else "old"

    def taken(self, number: int) -> None:
        """Note the batch that was taken in last."""
        self.expected = number + 1


class Feed:
    """One worker's events, into the index."""

    def __init__(
        self,
        index: PrefixIndex,
        worker_id: str,
        source: EventSource,
        context: zmq.asyncio.Context,
        counts: FeedCounts,
    ) -> None:
        self._index = index
        self._worker_id = worker_id
        self._source = source
        self._context = context
        self._counts = counts
        self._order = Order()

    async def run(self) -> None:
        """Keep the index in step with the worker. Runs until cancelled."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        socket.subscribe(b"")
        try:
            socket.connect(self._source.endpoint)
            # What was said before this side listened shows by no gap until something follows.
            await self._replay()
            while True:
                _, number, payload = await socket.recv_multipart()
                await self._take(_number(number), payload)
        finally:
            socket.close(linger=0)

    async def _take(self, number: int, payload: bytes) -> None:
        position = self._order.judge(number)
        if position == "gap":
            self._counts.gaps += 1
            await self._replay()
            position = self._order.judge(number)
        if position == "old":
            return
        if position != "next":
            self._drop()
        self._apply(number, payload)

    async def _replay(self) -> None:
        """Take in what the worker still has of the batches that are missing."""
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.connect(self._source.replay_endpoint)
            async with asyncio.timeout(REPLAY_S):
                await socket.send_multipart((b"", self._order.expected.to_bytes(8, "big")))
                while True:
                    *_, number_bytes, payload = await socket.recv_multipart()
                    number = _number(number_bytes)
                    if number == _END:
                        return
                    position = self._order.judge(number)
                    if position == "gap":
                        self._drop()
                    if position != "old":
                        self._apply(number, payload)
        except TimeoutError:
            logger.warning("worker %s did not send its KV events again", self._worker_id)
        finally:
            socket.close(linger=0)

    def _apply(self, number: int, payload: bytes) -> None:
        self._order.taken(number)
        try:
            take_batch(self._index, self._worker_id, payload)
        except ValueError as error:
            logger.warning("%s", error)
            self._drop()
            return
        self._counts.batches += 1

    def _drop(self) -> None:
        self._index.cleared(self._worker_id)
        self._counts.drops += 1


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)
