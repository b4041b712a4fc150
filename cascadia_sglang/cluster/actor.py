"""The agent of a node as an actor of Ray, which calls its methods in many threads."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import uuid
from typing import TYPE_CHECKING, Any

from cascadia_sglang.cluster.wire import AgentOrder, Sign, Wanted
from cascadia_sglang.errors import CascadiaError

if TYPE_CHECKING:
    from cascadia_sglang.cluster.agent import NodeAgent

# The methods of an agent that the server may call.
_CALLED = ("open", "start")


class AgentActor:
    """Prepares its process for workers, then lets an agent start them."""

    def __init__(self, order: AgentOrder, number: int, machine: str) -> None:
        """`machine` is Ray's id of the node. Ray calls this in the main thread of the process."""
        self._number = number
        self._machine = machine
        self._name = uuid.uuid4().hex
        # A scheduler that fails sends it to its parent, which Ray would take for the node's.
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        # Ray's, not the operator's.
        os.environ.pop("OMP_NUM_THREADS", None)
        os.environ.update(order.environment)
        self._problem: str | None = None
        self._agent: NodeAgent | None = None
        try:
            self._agent = _prepared(order)
        except CascadiaError as error:
            self._problem = str(error)

    def check(self, target: Wanted | None, seen: dict[str, str], wait_s: float) -> tuple[Sign, str]:
        """A sign of life, at once where other workers have ended than are `seen`; and the machine.

        Args:
            target: the workers that are to be here; None where the server has not said.
            wait_s: how long it may take.
        """
        ended = {} if self._agent is None else self._agent.check(target, seen, wait_s)
        host = socket.gethostname()
        return Sign(number=self._number, agent=self._name, host=host, ended=ended), self._machine

    def keep(self, target: Wanted) -> None:
        """End the workers that are not wanted any more."""
        if self._agent is not None:
            self._agent.keep(target)

    def call(self, method: str, argument: bytes) -> tuple[bytes, str | None]:
        """What a method of the agent returns, pickled; or one line where it fails."""
        if self._agent is None or method not in _CALLED:
            return b"", self._problem or f"{method}: an agent has {', '.join(_CALLED)}"
        try:
            value: Any = getattr(self._agent, method)(pickle.loads(argument))
        except CascadiaError as error:
            return b"", str(error)
        return pickle.dumps(value), None


def _prepared(order: AgentOrder) -> NodeAgent:
    """An agent in a process in which workers can be started.

    Raises:
        ConfigError: if this node has other versions than the server.
    """
    from cascadia_sglang.cluster.versions import check_versions

    check_versions(order.versions)
    from sglang.srt.platforms import current_platform

    if current_platform.device_type == "cpu":
        from cascadia_sglang.launch.fork_server import start_fork_server, threads_per_worker

        # It imports SGLang while this process does.
        start_fork_server(threads_per_worker(order.workers))
    from cascadia_sglang.cluster.agent import NodeAgent
    from cascadia_sglang.cluster.node_launcher import open_launcher

    return NodeAgent(open_launcher, order.lease_s)
