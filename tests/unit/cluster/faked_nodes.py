"""Nodes without Ray: a real agent on each, whose workers are made up, and a link to them."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.cluster.agent import NodeAgent
from cascadia_sglang.cluster.driver_process import Listener
from cascadia_sglang.cluster.launcher import ClusterLauncher
from cascadia_sglang.cluster.remote_handle import RemoteHandle
from cascadia_sglang.cluster.remote_nodes import RemoteNodes
from cascadia_sglang.cluster.wire import (
    Connected,
    Keep,
    NodeFacts,
    NodeOrder,
    Sign,
    Wanted,
    WorkerOrder,
)
from cascadia_sglang.config.cluster_settings import ClusterConfig
from cascadia_sglang.errors import CascadiaError, WorkerError
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits

HEARTBEAT_S = 0.5
LIMIT_S = 10.0
POOL: Any = SimpleNamespace(name="small", model_path="models/small", tiers=(0,))
LIMITS = Limits(context_tokens=99, input_tokens=90, vocabulary=64)


def until(reached: Callable[[], bool]) -> None:
    """Wait; AssertionError if it does not come."""
    deadline = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stays(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something holds for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not holds():
            return False
        time.sleep(0.01)
    return True


class Worker:
    """A worker on a node. Implements what an agent asks of a `WorkerHandle`."""

    device_share = None
    page_tokens, capacity_tokens, devices = 16, 4096, (3,)
    phases = {"process": 1.0}  # noqa: RUF012  of the protocol
    scheduler_infos = ({"max_total_num_tokens": 4096},)
    limits = LIMITS

    def __init__(self, order: WorkerOrder) -> None:
        self.order = order
        self.ready = threading.Event()
        self.ended: WorkerEnd | None = None
        self.is_stalled = False
        self.closed = 0

    def wait_for_ready(self) -> None:
        self.ready.wait(LIMIT_S)
        if self.ended is not None:
            raise WorkerError("it ended on the way")

    def die(self, end: WorkerEnd) -> None:
        self.ended = self.ended or end
        self.ready.set()

    def is_alive(self) -> bool:
        return self.ended is None

    def end(self) -> WorkerEnd:
        assert self.ended is not None
        return self.ended

    def stall(self) -> WorkerEnd | None:
        return WorkerEnd.OWN_ERROR if self.is_stalled else None

    def kill(self) -> None:
        self.die(WorkerEnd.OUTSIDE)

    def join(self, _deadline: float) -> bool:
        return self.ended is not None

    def close(self) -> None:
        self.closed += 1


class Launcher:
    """A node's launcher of made-up workers."""

    def __init__(self, node: FakedNode) -> None:
        self._node = node

    def start(self, order: WorkerOrder) -> Worker:
        if self._node.refuses:
            raise WorkerError("its flags are wrong")
        worker = Worker(order)
        if not self._node.holds_starts:
            worker.ready.set()
        self._node.workers.append(worker)
        return worker

    def end(self) -> None:
        assert all(worker.closed == 1 for worker in self._node.workers)


class FakedNode:
    """A machine; `workers` are all that it ever had."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.workers: list[Worker] = []
        self.refuses = self.holds_starts = self.is_silent = False
        self.problem: str | None = None
        self.opened = 0
        self.incarnation = 0
        self.agent = self.new_agent()

    def new_agent(self) -> NodeAgent:
        self.incarnation += 1
        return NodeAgent(self._open, LIMIT_S, lambda: None)

    def _open(self, order: NodeOrder) -> tuple[Launcher, NodeFacts]:
        assert order.number == self.number
        self.opened += 1
        if self.problem is not None:
            raise WorkerError(self.problem)
        return Launcher(self), NodeFacts(gpu="cpu", devices=2, memory_gib=None)

    def living(self) -> list[str]:
        return [worker.order.worker_id for worker in self.workers if worker.is_alive()]


class FakedLink:
    """Passes messages on as Ray's driver does. Implements `driver_process.Link`."""

    def __init__(self, count: int) -> None:
        self.nodes = {number: FakedNode(number) for number in range(1, count + 1)}
        self.is_closed = threading.Event()
        self._wanted: dict[int, Wanted] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, listener: Listener) -> None:
        listener.heard(Connected(address="127.0.0.1"))
        self._thread(self._count, listener)
        for node in self.nodes.values():
            self._thread(self._look, node, listener)

    def call(self, number: int, method: str, argument: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._thread(self._answer, self.nodes[number].agent, method, argument, future)
        return future

    def keep(self, order: Keep) -> None:
        self._wanted[order.number] = order.wanted
        self.nodes[order.number].agent.keep(order.wanted)

    def close(self) -> None:
        self.is_closed.set()

    def join(self) -> None:
        """Wait until nothing of it runs."""
        self.is_closed.set()
        for node in self.nodes.values():
            for worker in node.workers:
                worker.die(WorkerEnd.OUTSIDE)
        for thread in self._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive()

    def end_agent(self, number: int) -> None:
        """End a node's agent with its workers; another takes its place."""
        node = self.nodes[number]
        node.agent = node.new_agent()
        for worker in node.workers:
            worker.die(WorkerEnd.OUTSIDE)

    def _thread(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _answer(
        self, agent: NodeAgent, method: str, argument: bytes, future: Future[bytes]
    ) -> None:
        try:
            value = getattr(agent, method)(pickle.loads(argument))
        except CascadiaError as error:
            future.set_exception(WorkerError(str(error)))
        else:
            future.set_result(pickle.dumps(value))

    def _count(self, listener: Listener) -> None:
        while not self.is_closed.wait(0.02):
            listener.passed(0.02)

    def _look(self, node: FakedNode, listener: Listener) -> None:
        seen: dict[str, str] = {}
        while not self.is_closed.wait(0.01):
            if node.is_silent:
                continue
            agent, name = node.agent, f"agent {node.incarnation}"
            seen = agent.check(self._wanted.get(node.number), seen, 0.05)
            if not node.is_silent and agent is node.agent:
                number = node.number
                listener.heard(Sign(number=number, agent=name, host="host", ended=seen))


class NoLoad:
    """A worker that publishes nothing."""

    def load(self) -> None:
        return None

    def snapshots(self) -> list[Any]:
        return []

    def close(self) -> None:
        return None


class Scene:
    """A launcher over nodes of two devices each, and none of its own host."""

    def __init__(self, count: int = 1) -> None:
        self.link = FakedLink(count)
        settings = ClusterConfig(
            ray="auto", nodes=count, heartbeat_s=HEARTBEAT_S, private_network=True
        )
        self.nodes = RemoteNodes(settings, self.link)
        addresses: Any = Ports()
        loads: Any = SimpleNamespace(listen=lambda _: NoLoad(), close=lambda: None)
        self.launcher = ClusterLauncher(None, self.nodes, (), addresses, loads)
        self.addresses = addresses
        self._number = 0

    def open(self) -> None:
        self.nodes.open(ORDER, LIMIT_S)

    def start(self, node: int = 1, device: int = 0) -> RemoteHandle:
        self._number += 1
        replica = RunningReplica(pool="small", gpu="cpu", node=node, base_gpu_id=device)
        handle = self.launcher.start(self.launcher.resolved(POOL, self._number, replica))
        assert isinstance(handle, RemoteHandle)
        return handle

    def is_up(self, number: int = 1) -> bool:
        return next(node.is_up for node in self.nodes.shown() if node.number == number)


class Ports:
    """Addresses that nobody binds."""

    def __init__(self) -> None:
        self.given: set[str] = set()
        self._count = 0

    def take(self) -> str:
        self._count += 1
        self.given.add(address := f"tcp://127.0.0.1:{self._count}")
        return address

    def give_back(self, address: str) -> None:
        self.given.discard(address)


ORDER = NodeOrder(
    config=None,
    namespace=None,
    files={},
    probed=frozenset(),
    tokenizer="tcp://127.0.0.1:1",
    detokenizers=("tcp://127.0.0.1:2",),
    devices=2,
    is_debug=False,
)
