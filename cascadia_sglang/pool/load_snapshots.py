"""The load of every worker, read from the shared memory into which its scheduler writes it."""

import fcntl
from collections.abc import Iterable
from typing import Any

from sglang.srt.managers.load_snapshot import LoadSnapshot

from cascadia_sglang.pool.pool import Worker
from cascadia_sglang.prefix.speed import PublishedLoad


class WorkerLoad(LoadSnapshot, kw_only=True):  # type: ignore[misc,call-arg]
    """SGLang's snapshot with the worker's name. `dp_rank` is the worker's place among the live."""

    worker: str

    def to_dict(self, include: set[str] | None = None) -> dict[str, Any]:
        return {**super().to_dict(include), "worker": self.worker}


def read_loads(workers: Iterable[Worker], only_index: int | None) -> list[WorkerLoad]:
    """Loads of the workers that have written one, of one of them where a place is given.

    Blocks while a worker writes, so for as long as one is stopped that was about to.
    """
    loads = []
    for index, worker in enumerate(workers):
        if only_index is not None and only_index != index:
            continue
        for snapshot in worker.handle.loads.read_all():
            values = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
            values["dp_rank"] = index
            loads.append(WorkerLoad(worker=worker.worker_id, **values))
    return loads


def published_load(worker: Worker) -> PublishedLoad | None:
    """A worker's load for the choice of one; None where it has written none, or is writing.

    Never blocks: it is read on the event loop.
    """
    reader = worker.handle.loads
    if not reader._attach():
        return None
    try:
        fcntl.flock(reader.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    try:
        snapshot: LoadSnapshot | None = reader._read_slot(0)
    finally:
        fcntl.flock(reader.fd, fcntl.LOCK_UN)
    if snapshot is None or not snapshot.max_running_requests:
        return None
    moments = snapshot.decode_moments or [0.0] * 6
    return PublishedLoad(
        at_s=snapshot.timestamp,
        running=snapshot.num_running_reqs,
        waiting=snapshot.num_waiting_reqs,
        waiting_tokens=snapshot.num_waiting_uncached_tokens,
        max_running=snapshot.max_running_requests,
        prefilled_tokens=snapshot.total_prefill_uncached_tokens,
        prefill_us=snapshot.total_prefill_busy_us,
        decode_moments=tuple(moments),
        used_tokens=snapshot.num_used_tokens,
        total_tokens=snapshot.max_total_num_tokens,
    )
