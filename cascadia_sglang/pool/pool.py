"""The engine workers that serve, and which of them takes the next attempt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.pool.worker_handle import Limits, WorkerHandle

if TYPE_CHECKING:
    import zmq

_LOOK_S = 0.05


class WorkerState(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    STANDBY = "standby"
    ASLEEP = "asleep"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One running SGLang scheduler group.

    Attributes:
        worker_id: `<tier>-<number>`, unique in the server.
        tiers: indices of the tiers it serves.
        handle: what runs it.
        retired: whether it is to end, so that its end is no fault.
        socket: where its requests go; None until the tokenizer manager exists.
        rids: attempts it runs now.
        ending: attempts that were aborted, until it says that they have ended.
        released: kinds of memory that it has given back, and cannot serve without.
    """

    worker_id: str
    tiers: tuple[int, ...]
    handle: WorkerHandle
    state: WorkerState = WorkerState.STARTING
    limits: Limits | None = None
    socket: zmq.Socket[bytes] | None = None
    rids: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)
    retired: bool = False
    released: frozenset[str] = frozenset()

    def check_alive(self) -> None:
        """Raises WorkerError if it was lost before it served."""
        if self.state is WorkerState.DEAD:
            raise WorkerError(f"worker {self.worker_id} was lost while it started")

    async def becomes_idle(self, deadline: float) -> bool:
        """Whether it runs nothing, or is lost, before the event loop's time is the deadline."""
        loop = asyncio.get_running_loop()
        while self.rids and self.state is not WorkerState.DEAD:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True


class WorkerPool:
    """The workers, as all but the fleet see them: they pick workers and note attempts.

    What the router reads is a snapshot that is swapped whole whenever a worker changes state.
    """

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._by_rid: dict[str, Worker] = {}
        self._ready: dict[int, tuple[Worker, ...]] = {}
        self._bypassed: set[int] = set()
        self._vocabularies: dict[int, int] = {}  # by tier: the smallest of its workers so far
        self._changed: Callable[[], None] = lambda: None

    def watch(self, changed: Callable[[], None]) -> None:
        """Have this called whenever workers come or go."""
        self._changed = changed

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def get(self, worker_id: str) -> Worker | None:
        """The worker of this name, None if it is gone."""
        return self._workers.get(worker_id)

    @property
    def bypassed(self) -> frozenset[int]:
        """Tiers that are passed over after too many faults."""
        return frozenset(self._bypassed)

    def ready(self) -> list[Worker]:
        """Those that may take attempts."""
        return [worker for worker in self.admitted() if not worker.released]

    def admitted(self) -> list[Worker]:
        """Those that are ready, whether or not they have their memory."""
        return [w for w in self._workers.values() if w.state is WorkerState.READY]

    def census(self) -> Counter[tuple[str, str]]:
        """How many workers of each pool are in each state."""
        return Counter((w.handle.pool.name, w.state.value) for w in self._workers.values())

    def candidates(self, tier_index: int) -> tuple[Worker, ...]:
        """The ready workers of a tier, the oldest first."""
        return self._ready.get(tier_index, ())

    def pick(self, tier_index: int) -> Worker | None:
        """The ready worker of a tier with the fewest attempts, the oldest of several."""
        candidates = self._ready.get(tier_index, ())
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        return min(candidates, key=lambda worker: len(worker.rids))

    def pick_any(self, tier_index: int) -> Worker | None:
        """As `pick`, where the tier is passed over too."""
        workers = [worker for worker in self.ready() if tier_index in worker.tiers]
        return min(workers, key=lambda worker: len(worker.rids), default=None)

    def attempts(self, tier_index: int) -> list[int]:
        """How many attempts each ready worker of a tier holds."""
        return [len(worker.rids) for worker in self._ready.get(tier_index, ())]

    def limits(self, tier_index: int) -> Limits | None:
        """Of the tier's workers, which are all alike; None while none is ready."""
        candidates = self._ready.get(tier_index)
        return candidates[0].limits if candidates else None

    def vocabulary(self, tiers: Iterable[int]) -> int | None:
        """Token ids below this one are known to every worker of these tiers so far.

        None before the first.
        """
        vocabularies = [self._vocabularies[tier] for tier in tiers if tier in self._vocabularies]
        return min(vocabularies, default=None)

    def assign(self, rid: str, worker: Worker) -> None:
        """Note where an attempt runs, so that its messages find the worker."""
        self._by_rid[rid] = worker
        worker.rids.add(rid)

    def release(self, rid: str) -> None:
        worker = self._by_rid.pop(rid, None)
        if worker is not None:
            worker.rids.discard(rid)

    def worker_of(self, rid: str | None) -> Worker | None:
        """The worker that runs an attempt, None for a rid of no attempt."""
        return None if rid is None else self._by_rid.get(rid)


class WritablePool(WorkerPool):
    """The pool as the fleet sees it.

    The fleet alone changes which workers there are, and the state of each.
    """

    def add(self, worker: Worker) -> None:
        """Take in a worker that is starting."""
        self._workers[worker.worker_id] = worker

    def admit(self, worker: Worker, limits: Limits) -> None:
        """Let a started worker take attempts."""
        worker.limits = limits
        for tier in worker.tiers:
            smallest = self._vocabularies.get(tier, limits.vocabulary)
            self._vocabularies[tier] = min(smallest, limits.vocabulary)
        self._change(worker, WorkerState.READY)

    def stand_by(self, worker: Worker) -> None:
        """Keep a started worker from attempts until it is admitted."""
        self._change(worker, WorkerState.STANDBY)

    def call_up(self, worker: Worker) -> None:
        """Note that a worker that stood by or slept is about to serve.

        From here on its loss is that of a worker that starts. It is picked no more than before.
        """
        worker.state = WorkerState.STARTING

    def fall_asleep(self, worker: Worker) -> None:
        """Note that a drained worker has given its memory back."""
        self._change(worker, WorkerState.ASLEEP)

    def drain(self, worker: Worker) -> None:
        """Give a worker no further attempts; those it runs go on."""
        self._change(worker, WorkerState.DRAINING)

    def note_released(self, worker: Worker, kinds: frozenset[str]) -> None:
        """Note what memory a worker is without now; with some of it released it is not picked."""
        if kinds != worker.released:
            worker.released = kinds
            self._publish()

    def remove(self, worker: Worker) -> None:
        """Forget a worker; its rids stay assigned until their attempts end."""
        self._workers.pop(worker.worker_id, None)
        self._change(worker, WorkerState.DEAD)

    def bypass(self, tiers: Iterable[int]) -> None:
        """Pick no worker for these tiers until they are restored."""
        self._bypassed.update(tiers)
        self._publish()

    def restore(self, tiers: Iterable[int]) -> None:
        """Let these tiers be served again."""
        self._bypassed.difference_update(tiers)
        self._publish()

    def _change(self, worker: Worker, state: WorkerState) -> None:
        worker.state = state
        self._publish()

    def _publish(self) -> None:
        ready: dict[int, list[Worker]] = {}
        for worker in self.ready():
            for tier_index in set(worker.tiers) - self._bypassed:
                ready.setdefault(tier_index, []).append(worker)
        self._ready = {tier_index: tuple(workers) for tier_index, workers in ready.items()}
        self._changed()
