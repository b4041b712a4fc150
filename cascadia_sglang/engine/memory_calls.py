"""Calls that release and resume the memory of workers, as far as SGLang's scheduler survives them.

The scheduler ends where memory is released while a request runs, is released twice, or is resumed
that was not released. Such a call is refused before it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.constants import GPU_MEMORY_ALL_TYPES

from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import Worker

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

_RELEASE, _RESUME = "ReleaseMemoryOccupationReqInput", "ResumeMemoryOccupationReqInput"


def tags_of(message: BaseReq) -> frozenset[str]:
    """The kinds of memory that a call names; none stands for all."""
    return frozenset(message.tags or GPU_MEMORY_ALL_TYPES)


def check_memory_call(message: BaseReq, workers: Sequence[Worker]) -> None:
    """Refuse a call that one of these workers would not survive.

    Raises:
        RequestError: 400; names the worker and why. Of any other call nothing is checked.
    """
    name = type(message).__name__
    if name not in (_RELEASE, _RESUME):
        return
    tags = tags_of(message)
    if name == _RELEASE:
        unknown = tags - set(GPU_MEMORY_ALL_TYPES)
        if unknown:
            allowed = ", ".join(GPU_MEMORY_ALL_TYPES)
            raise RequestError(400, f"tags has {min(unknown)!r}, allowed: {allowed}", "tags")
    for worker in workers:
        held = len(worker.rids | worker.ending)
        if name == _RELEASE and held:
            raise RequestError(
                400, f"worker {worker.worker_id} has {held} requests; its memory is in use"
            )
        wrong = tags & worker.released if name == _RELEASE else tags - worker.released
        if wrong:
            state = "is released already" if name == _RELEASE else "was not released"
            raise RequestError(400, f"worker {worker.worker_id}: {min(wrong)} {state}", "tags")


def released_after(message: BaseReq, worker: Worker) -> frozenset[str]:
    """What a worker has released once it has answered a call."""
    name = type(message).__name__
    if name == _RELEASE:
        return worker.released | tags_of(message)
    return worker.released - tags_of(message) if name == _RESUME else worker.released
