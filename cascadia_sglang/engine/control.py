"""Control calls of SGLang's tokenizer manager, to whatever workers there are when one begins.

SGLang waits for a fixed number of replies, which carry no name: a worker that is gone would be
waited for, and one that is late would answer the next call. Here a call's members are fixed when it
begins, the end of one counts as its answer, and every message carries a mark that the scheduler
puts on the reply (the field in which SGLang notes an HTTP worker, of which a cascade has one).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from sglang.srt.managers.io_struct import BaseReq, sock_send

from cascadia_sglang.engine.memory_calls import check_memory_call, released_after
from cascadia_sglang.engine.target_tiers import target_tiers
from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import Worker, WorkerPool, WorkerState

logger = logging.getLogger(__name__)

CALL_S = 9.0

# Messages whose work may take long. A worker that lives is waited for.
_PATIENT = ("Weight", "LoRA", "Memory", "HiCache", "Profile", "Flush")

# Messages that only ask: an unanswered one does not explain a worker's end.
_HARMLESS = ("GetInternalStateReq", "GetLoadsReqInput")


@dataclass(slots=True, eq=False)
class _Call:
    """One call on its way: who has not answered, and what the others said."""

    missing: dict[str, Worker]  # by mark
    message: BaseReq
    may_end_workers: bool = True
    replies: dict[str, BaseReq] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, mark: str) -> None:
        self.missing.pop(mark, None)
        if not self.missing:
            self.done.set()


class ControlPlane:
    """Makes control calls. Calls of one kind follow one another.

    Args:
        lose: called with a worker that missed a call.
        note_released: called with the kinds of memory that a worker is without after a call.
    """

    def __init__(
        self,
        pool: WorkerPool,
        lose: Callable[[Worker, str], None],
        note_released: Callable[[Worker, frozenset[str]], None],
    ) -> None:
        self._pool = pool
        self._lose = lose
        self._note_released = note_released
        self._marks = itertools.count()
        self._calls: dict[str, _Call] = {}
        self._locks: dict[Hashable, asyncio.Lock] = {}

    def members(self) -> list[Worker]:
        """Workers that a control message reaches now."""
        targets = target_tiers()
        return [
            worker
            for worker in self._pool.admitted()
            if targets is None or not targets.isdisjoint(worker.tiers)
        ]

    async def call(self, kind: Hashable, message: BaseReq) -> list[BaseReq]:
        """Send a message to every member; the replies, failures first, at least one.

        Args:
            kind: calls of the same kind follow one another.

        Raises:
            RequestError: 400 for a call that a member would not survive; 500 if the first one did
                not survive it; 503 if there is no member, none of them answered, or earlier calls
                of this kind took all the time.
        """
        is_patient = any(word in type(message).__name__ for word in _PATIENT)
        deadline = None if is_patient else asyncio.get_running_loop().time() + CALL_S
        name = type(message).__name__
        lock = self._locks.setdefault(kind, asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline):
                await lock.acquire()
        except TimeoutError:
            raise RequestError(503, f"{name}: earlier calls of this kind are not done") from None
        try:
            check_memory_call(message, self.members())
            replies = await self._ask(message, deadline)
        finally:
            lock.release()
        if not replies:
            raise RequestError(503, f"{name}: no worker answered")
        return sorted(replies, key=lambda reply: bool(getattr(reply, "success", True)))

    async def ask(self, worker: Worker, message: BaseReq, limit_s: float) -> BaseReq | None:
        """What one worker replies, whatever its state; None where it is lost, or lost as too late.

        Args:
            limit_s: how long it may take.
        """
        deadline = asyncio.get_running_loop().time() + limit_s
        replies = await self._send_and_wait(message, [worker], deadline)
        return replies[0] if replies else None

    async def _ask(self, message: BaseReq, deadline: float | None) -> Sequence[BaseReq]:
        """The replies of all members. A call that may end a worker goes to one of them first."""
        members = self.members()
        if type(message).__name__ in _HARMLESS or len(members) < 2:
            return await self._send_and_wait(message, members, deadline)
        first = members[0]
        replies = await self._send_and_wait(message, [first], deadline)
        if not replies:
            name = type(message).__name__
            # Not 503, which clients send again: each time would end one more worker.
            raise RequestError(
                500, f"{name}: worker {first.worker_id} did not survive it; no other was asked"
            )
        others = [worker for worker in members[1:] if worker.state is WorkerState.READY]
        return [*replies, *await self._send_and_wait(message, others, deadline)]

    async def _send_and_wait(
        self, message: BaseReq, workers: Sequence[Worker], deadline: float | None
    ) -> Sequence[BaseReq]:
        members = {f"control-{next(self._marks)}": worker for worker in workers}
        call = _Call(dict(members), message, type(message).__name__ not in _HARMLESS)
        if not members:
            return []
        try:
            for mark, worker in members.items():
                self._calls[mark] = call
                message.http_worker_ipc = mark
                sock_send(worker.socket, message)
            async with asyncio.timeout_at(deadline):
                await call.done.wait()
        except TimeoutError:
            for worker in list(call.missing.values()):
                self._lose(worker, f"it did not answer {type(message).__name__} in time")
        finally:
            for mark in members:
                self._calls.pop(mark, None)
        return [
            _named(call.replies[mark], members[mark]) for mark in members if mark in call.replies
        ]

    def receive(self, reply: BaseReq) -> None:
        """Take a reply; one to a call that is over is dropped."""
        mark = reply.http_worker_ipc
        call = self._calls.get(mark)
        if call is None:
            logger.info("dropped a late %s", type(reply).__name__)
            return
        call.replies[mark] = reply
        worker = call.missing.get(mark)
        if worker is not None:
            self._note_released(worker, released_after(call.message, worker))
        call.settle(mark)

    def is_awaited(self, worker: Worker) -> bool:
        """Whether a worker has not answered a call that may have ended it."""
        return any(
            worker in call.missing.values() for call in self._calls.values() if call.may_end_workers
        )

    def gone(self, worker: Worker) -> None:
        """Wait no longer for a worker that was lost."""
        for call in set(self._calls.values()):
            for mark in [mark for mark, other in call.missing.items() if other is worker]:
                call.settle(mark)


def _named(reply: BaseReq, worker: Worker) -> BaseReq:
    """A reply that shows whose it is, where it has a place for that."""
    state = getattr(reply, "internal_state", None)
    if isinstance(state, dict):
        state["worker"] = worker.worker_id
    return reply
