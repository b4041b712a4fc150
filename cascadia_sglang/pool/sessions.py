"""Which worker holds which session: its history lies in that worker's memory alone."""

from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import Worker, WorkerState


@dataclass(slots=True)
class _Session:
    """An open session: its worker, and the rid under which that knows each of its turns."""

    worker: Worker
    turns: dict[str, str] = field(default_factory=dict)


class Sessions:
    """Open sessions by their id."""

    def __init__(self) -> None:
        self._open: dict[str, _Session] = {}

    def open(self, session_id: str, worker: Worker) -> None:
        self._open[session_id] = _Session(worker)

    def close(self, session_id: str) -> Worker | None:
        """Forget a session; the worker that held it, None if there is none."""
        session = self._open.pop(session_id, None)
        return None if session is None else session.worker

    def lose(self, worker: Worker) -> list[str]:
        """Forget the sessions of a worker that is gone; their ids."""
        lost = [name for name, session in self._open.items() if session.worker is worker]
        for name in lost:
            del self._open[name]
        return lost

    def worker_of(self, params: dict[str, Any]) -> Worker:
        """The worker that a request with these session parameters goes to.

        Raises:
            RequestError: 400 if no worker holds the session, or the one that did was lost.
        """
        session = self._open.get(str(params.get("id")))
        if session is None or session.worker.state is WorkerState.DEAD:
            raise RequestError(400, f"session {params.get('id')!r} is not open", "session_params")
        return session.worker

    def as_known(self, params: dict[str, Any], caller_rid: str, rid: str) -> dict[str, Any]:
        """Parameters in the worker's own terms: a turn that they build on has its rid there.

        The request becomes a turn of its own.
        """
        session = self._open.get(str(params.get("id")))
        if session is None:
            return params
        session.turns[caller_rid] = rid
        earlier = params.get("rid")
        return {**params, "rid": session.turns.get(earlier, earlier)} if earlier else params
