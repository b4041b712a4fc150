"""Which workers a message to the scheduler goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sglang.srt.managers.io_struct import BaseReq, CloseSessionReqInput, OpenSessionReqInput

from cascadia_sglang.engine.control import ControlPlane
from cascadia_sglang.errors import RequestError
from cascadia_sglang.pool.pool import Worker, WorkerPool, WorkerState
from cascadia_sglang.pool.sessions import Sessions

if TYPE_CHECKING:
    from zmq import Socket


class Dispatch:
    """Finds the sockets of a message. A control message goes to every worker it is meant for."""

    def __init__(self, pool: WorkerPool, control: ControlPlane, sessions: Sessions) -> None:
        self._pool = pool
        self._control = control
        self._sessions = sessions

    def sockets_for(self, message: BaseReq) -> list[Socket[bytes] | None]:
        """Raises RequestError if a message that needs a worker finds none."""
        worker = self._pool.worker_of(getattr(message, "rid", None))
        if worker is not None:
            return [worker.socket] if worker.state is not WorkerState.DEAD else []
        if type(message).__name__.startswith(("Tokenized", "BatchTokenized")):
            return [self._first().socket]
        if isinstance(message, OpenSessionReqInput):
            worker = self._first()
            self._sessions.open(str(message.session_id), worker)
            return [worker.socket]
        if isinstance(message, CloseSessionReqInput):
            holder = self._sessions.close(message.session_id)
            return [holder.socket] if holder and holder.state is not WorkerState.DEAD else []
        return [member.socket for member in self._control.members()]

    def _first(self) -> Worker:
        """The first worker of the tier that the request names, else of all."""
        first = next(iter(self._control.members()), None)
        if first is None:
            raise RequestError(503, "no worker accepts requests")
        return first
