"""The loads of the workers, as their schedulers publish them."""

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
        for snapshot in worker.handle.snapshots():
            values = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
            values["dp_rank"] = index
            loads.append(WorkerLoad(worker=worker.worker_id, **values))
    return loads


def published_load(worker: Worker) -> PublishedLoad | None:
    """A worker's load for the choice of one; None where none can be read now. Never blocks."""
    return worker.handle.load()
