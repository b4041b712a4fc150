"""Which workers a message to the scheduler goes to."""

from typing import Any

from cascadia_sglang.errors import RequestError
from cascadia_sglang.workers.pool import WorkerPool, WorkerState


def sockets_for(message: Any, pool: WorkerPool) -> list[Any]:
    """An attempt's messages go to its worker, control messages to all that serve.

    Raises:
        RequestError: if a request outside the cascade finds no worker.
    """
    worker = pool.worker_of(getattr(message, "rid", None))
    if worker is not None:
        return [worker.socket] if worker.state is not WorkerState.DEAD else []
    if type(message).__name__.startswith(("Tokenized", "BatchTokenized")):
        first = next(iter(pool.ready()), None)
        if first is None:
            raise RequestError(503, "no worker accepts requests")
        return [first.socket]
    return [worker.socket for worker in pool.ready()]
