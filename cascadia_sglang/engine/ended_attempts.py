"""Attempts that end before their answer: refused by a worker, or lost with one.

The router learns by the error whether another worker may run the attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import fastapi
from sglang.srt.managers.io_struct import AbortReq, sock_send

from cascadia_sglang.errors import (
    AttemptFailedError,
    AttemptMovedError,
    WorkerDiedError,
    WorkerLostError,
)
from cascadia_sglang.pool.pool import Worker, WorkerState
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.poison_requests import Death

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import ReqState


class LostAttempts:
    """Knows which running attempts were ended from this side, and the reason of each.

    `on_fault` hears of a worker that answered with an internal error.
    """

    def __init__(self, on_fault: Callable[[Worker, Exception], None]) -> None:
        self._on_fault = on_fault
        self._lost: set[str] = set()  # rids of attempts that were ended from this side
        self._moved: set[str] = set()  # of them those that only waited
        self._deaths: dict[str, Death] = {}  # and those whose worker ended by its own error
        self._movable: set[str] = set()  # may run on any worker, and no client saw a token
        self.states: dict[str, ReqState] = {}  # SGLang's `rid_to_state`

    def begin(self, rid: str) -> None:
        """Note an attempt that any worker may take."""
        self._movable.add(rid)

    def seen(self, rid: str) -> None:
        """Note that a token of this attempt has left."""
        self._movable.discard(rid)

    def forget(self, rid: str) -> None:
        """The attempt has ended, and whoever waits for it knows."""
        for rids in (self._lost, self._moved, self._movable):
            rids.discard(rid)
        death = self._deaths.pop(rid, None)
        if death is not None:
            death.unheard.discard(rid)

    def fail(self, worker: Worker) -> list[str]:
        """End all attempts of a worker; their rids, the youngest first."""
        for rid in worker.ending:
            self.states.pop(rid, None)
        worker.ending.clear()
        rids = sorted(worker.rids, reverse=True)
        self._end(rids)
        return rids

    def blame(self, worker: Worker, rids: list[str], on_explained: Callable[[], None]) -> None:
        """A worker ended by its own error: the attempts that it held are suspects."""
        now = asyncio.get_running_loop().time()
        # The youngest first: most errors come with a request's first step.
        death = Death(worker.worker_id, rids, now, on_explained, unheard=set(rids))
        self._deaths.update(dict.fromkeys(rids, death))

    def move(self, worker: Worker, count: int) -> None:
        """End so many of a worker's attempts, the youngest, to run again on the worker chosen then;
        fewer where the others are bound to it or were seen."""
        rids = sorted(worker.rids & self._movable, reverse=True)[:count]
        self._moved.update(rids)
        self._end(rids)

    def raise_if_lost(self, error: Exception, rid: str, worker: Worker) -> None:
        """Raise the error that tells whether an attempt on another worker may succeed.

        Errors of the client (400) and back-pressure (429, 503) raise nothing here.

        Raises:
            WorkerLostError: and its kinds, where a retry elsewhere may succeed.
            AttemptFailedError: for an internal error of a worker that lives.
        """
        if rid in self._lost or worker.state is WorkerState.DEAD:
            if worker.state is not WorkerState.DEAD:
                # It has the request: the attempt moves, or the detokenizer was lost.
                sock_send(worker.socket, AbortReq(rid=rid))
            if rid in self._moved:
                raise AttemptMovedError(f"worker {worker.worker_id} was to give it up") from error
            if (death := self._deaths.get(rid)) is not None:
                message = f"worker {worker.worker_id} ended by an error of its own"
                raise WorkerDiedError(message, death, rid) from error
            raise WorkerLostError(f"worker {worker.worker_id} was lost") from error
        status = getattr(error, "status_code", None)
        if status is not None and status >= 500 and status != 503:
            self._on_fault(worker, error)
            raise AttemptFailedError(f"worker {worker.worker_id} failed") from error

    def _end(self, rids: Iterable[str]) -> None:
        for rid in rids:
            state = self.states.pop(rid, None)
            self._lost.add(rid)
            if state is not None:
                _end_as_refused(state, rid)


def raise_if_refused(output: Output) -> None:
    """What SGLang raises for an answer that is not streamed, it sends as the last of a stream."""
    reason = output["meta_info"].get("finish_reason") or {}
    status = reason.get("status_code")
    if reason.get("type") != "abort" or status is None:
        return
    if status == 400:
        raise ValueError(reason["message"])
    raise fastapi.HTTPException(status_code=status, detail=reason["message"])


def _end_as_refused(state: ReqState, rid: str) -> None:
    """End a request of SGLang's tokenizer manager as one that a scheduler refused."""
    reason = {"type": "abort", "message": "the worker was lost", "status_code": 503}
    state.out_list.append(
        {"text": "", "output_ids": [], "meta_info": {"id": rid, "finish_reason": reason}}
    )
    state.finished = True
    state.event.set()
