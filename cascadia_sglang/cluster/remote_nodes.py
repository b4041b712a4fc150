"""The machines besides the server's, as the server knows them: up, away, and what runs there."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from cascadia_sglang.capacity.types import Node
from cascadia_sglang.cluster.driver_process import Link
from cascadia_sglang.cluster.remote_handle import RemoteHandle
from cascadia_sglang.cluster.wire import (
    Connected,
    Keep,
    NodeFacts,
    NodeOrder,
    Sign,
    Trouble,
    Wanted,
    WorkerOrder,
)
from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.errors import CascadiaError, ClusterError, NodeLostError
from cascadia_sglang.pool.worker_ends import WorkerEnd

logger = logging.getLogger(__name__)

# The driver itself gives up sooner, and says why.
CONNECT_S = 40.0
# Before an agent that could not serve is asked again.
_AGAIN_S = 5.0


@dataclass(slots=True)
class _RemoteNode:
    """What is known of one node.

    Attributes:
        agent: name of the process that gave the last sign; None where none has.
        silent_s: since that sign.
        opening: the agent's answer to being asked to begin anew; None where it is not asked.
        facts: None while the node is away.
        version: of the last list of its wanted workers.
        again_s: on the monotonic clock: not to be asked before.
    """

    number: int
    name: str
    agent: str | None = None
    silent_s: float = 0.0
    opening: Future[bytes] | None = None
    facts: NodeFacts | None = None
    known: NodeFacts | None = None
    handles: dict[str, RemoteHandle] = field(default_factory=dict)
    version: int = 0
    again_s: float = 0.0


class RemoteNodes:
    """Owns the state of the nodes, with one lock. Implements `driver_process.Listener`.

    A node is up from the answer to `open` until its agent ends or was silent for `heartbeat_s`.
    Whatever ran there counts as lost then, even if it still runs: before the node is up again, its
    agent has ended it.
    """

    def __init__(self, settings: ClusterConfig, link: Link) -> None:
        self._settings = settings
        self._link = link
        self._changed = threading.Condition(threading.RLock())
        self._nodes = {n: _RemoteNode(n, f"node {n}") for n in range(1, settings.nodes + 1)}
        self._order: NodeOrder | None = None
        self._address: str | None = None
        self._trouble: str | None = None
        link.begin(self)

    def connect(self) -> None:
        """Wait until Ray answers.

        Raises:
            ClusterError: if the cluster cannot be used; one line.
        """
        self._await(lambda: self._address is not None, CONNECT_S, "Ray gives no sign")

    @property
    def address(self) -> str:
        """Where workers reach this host, once Ray has answered."""
        assert self._address is not None
        return self._settings.address or self._address

    def open(self, order: NodeOrder, limit_s: float) -> None:
        """Have every agent begin, and wait until all nodes are up.

        Raises:
            ClusterError: if one cannot serve, or does not in time; names it.
        """
        with self._changed:
            self._order = order
        self._await(
            lambda: all(node.facts is not None for node in self._nodes.values()),
            limit_s,
            "not every node has an agent",
        )

    def shown(self) -> tuple[Node, ...]:
        """The nodes in the order of their numbers."""
        with self._changed:
            return tuple(self._shown(node) for node in self._nodes.values())

    def start(self, handle: RemoteHandle, order: WorkerOrder) -> None:
        """Have the agent of a replica's node start a worker.

        Raises:
            NodeLostError: if the node is away.
        """
        with self._changed:
            node = self._nodes[order.replica.node]
            if node.facts is None:
                raise NodeLostError(f"{node.name} is away")
            node.handles[order.worker_id] = handle
            self._keep(node)
            order = dataclasses.replace(order, version=node.version)
            answer = self._link.call(node.number, "start", pickle.dumps(order))
        handle.await_start(answer)

    def release(self, handle: RemoteHandle) -> None:
        """Have the agent end a worker. A second call does nothing."""
        with self._changed:
            for node in self._nodes.values():
                if node.handles.get(handle.worker_id) is handle:
                    del node.handles[handle.worker_id]
                    self._keep(node)

    def close(self) -> None:
        """End the agents, with all that they run."""
        self._link.close()

    # What the link tells, in a thread of its own.

    def heard(self, message: Connected | Trouble | Sign) -> None:
        with self._changed:
            if isinstance(message, Connected):
                self._address, self._trouble = message.address, None
            elif isinstance(message, Trouble):
                if message.text != self._trouble:
                    logger.warning("cluster: %s", message.text)
                self._trouble = message.text
            else:
                self._take_sign(self._nodes[message.number], message)
            self._changed.notify_all()

    def passed(self, seconds: float) -> None:
        with self._changed:
            for node in self._nodes.values():
                node.silent_s += seconds
                if node.silent_s > self._settings.heartbeat_s and node.agent is not None:
                    self._lose(node)

    def _take_sign(self, node: _RemoteNode, sign: Sign) -> None:
        if sign.agent is None:
            self._lose(node)
            return
        node.silent_s = 0.0
        if sign.agent != node.agent:
            self._lose(node)
            node.agent, node.name = sign.agent, f"node {node.number} ({sign.host})"
        if node.facts is None:
            self._open(node)
            return
        for worker_id, end in sign.ended.items():
            handle = node.handles.get(worker_id)
            if handle is not None:
                handle.ended(WorkerEnd(end))

    def _lose(self, node: _RemoteNode) -> None:
        node.agent = node.facts = node.opening = None
        for handle in list(node.handles.values()):
            handle.ended(WorkerEnd.LOST_NODE)
        if node.handles:
            node.handles.clear()
            self._keep(node)

    def _open(self, node: _RemoteNode) -> None:
        if self._order is None or node.opening is not None or time.monotonic() < node.again_s:
            return
        order = dataclasses.replace(self._order, number=node.number)
        node.opening = answer = self._link.call(node.number, "open", pickle.dumps(order))
        answer.add_done_callback(functools.partial(self._opened, node))

    def _opened(self, node: _RemoteNode, answer: Future[bytes]) -> None:
        with self._changed:
            # One that was lost meanwhile is asked again at its next sign.
            if node.opening is not answer:
                return
            node.opening = None
            error = answer.exception()
            if error is None:
                node.facts = node.known = pickle.loads(answer.result())
            else:
                is_ours = isinstance(error, CascadiaError)
                text = f"{node.name}: {error if is_ours else repr(error)}"
                if text != self._trouble:
                    logger.warning("cluster: %s", text)
                self._trouble, node.again_s = text, time.monotonic() + _AGAIN_S
            self._changed.notify_all()

    def _keep(self, node: _RemoteNode) -> None:
        node.version += 1
        target = Wanted(version=node.version, worker_ids=frozenset(node.handles))
        self._link.keep(Keep(number=node.number, wanted=target))

    def _shown(self, node: _RemoteNode) -> Node:
        facts = node.facts or node.known
        assert facts is not None
        return Node(
            gpu=facts.gpu,
            devices=facts.devices,
            number=node.number,
            name=node.name,
            memory_gib=facts.memory_gib,
            is_local=False,
            is_up=node.facts is not None,
            silent_s=node.silent_s,
        )

    def _await(self, reached: Callable[[], bool], limit_s: float, late: str) -> None:
        deadline = time.monotonic() + limit_s
        with self._changed:
            while not reached():
                if self._trouble is not None:
                    raise ClusterError(self._trouble)
                if not self._changed.wait(deadline - time.monotonic()):
                    raise ClusterError(f"cluster: {late} in {limit_s:g} s")
