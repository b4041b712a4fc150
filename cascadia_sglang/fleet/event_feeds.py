"""Reads the KV events of every running worker."""

import asyncio
import dataclasses
from typing import Any

import zmq.asyncio

from cascadia_sglang.pool.pool import Worker
from cascadia_sglang.prefix.cached_prefixes import HeldPrefixes, Promises
from cascadia_sglang.prefix.feed import Feed, FeedCounts


class EventFeeds:
    """One feed a worker, into the one index. Events of before it began are asked for again."""

    def __init__(self, held: HeldPrefixes) -> None:
        self.counts = FeedCounts()
        self._held = held
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._context: zmq.asyncio.Context | None = None

    def add(self, worker: Worker) -> None:
        """Take in a worker that is ready."""
        handle = worker.handle
        self._held.add(
            worker.worker_id, handle.page_tokens, handle.capacity_tokens, handle.events is not None
        )
        if handle.events is None:
            return
        self._workers[worker.worker_id] = worker
        if self._context is not None:
            self._follow(worker)

    def start(self) -> None:
        """Read from now on; call it on the event loop."""
        self._context = zmq.asyncio.Context()
        for worker in self._workers.values():
            self._follow(worker)

    def drop(self, worker: Worker) -> None:
        """Read no further of a worker that is gone."""
        self._workers.pop(worker.worker_id, None)
        task = self._tasks.pop(worker.worker_id, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """Read nothing any more."""
        for task in self._tasks.values():
            task.cancel()

    def summary(self) -> dict[str, Any]:
        """What is known of the workers' prefix caches, for the status."""
        index = self._held.index
        return {
            "held_tokens": {
                worker_id: self._held.all_tokens(worker_id) for worker_id in self._held.workers()
            },
            "blocks": index.blocks,
            "bytes": index.nbytes,
            "refused": index.refused,
            "told": _told(self._held.reported),
            "guessed": _told(self._held.guessed),
            "events": dataclasses.asdict(self.counts),
        }

    def _follow(self, worker: Worker) -> None:
        events = worker.handle.events
        assert events is not None
        assert self._context is not None
        feed = Feed(self._held.index, worker.worker_id, events, self._context, self.counts)
        self._tasks[worker.worker_id] = asyncio.create_task(feed.run())


def _told(promises: Promises) -> dict[str, Any]:
    share = promises.stale_per_1000
    return {
        "promises": promises.made,
        "stale_per_1000": None if share is None else round(share, 2),
    }
