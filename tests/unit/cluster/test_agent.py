"""The agent of a node, without Ray and without SGLang."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.cluster.agent import NodeAgent
from cascadia_sglang.cluster.wire import NodeFacts, Wanted, WorkerOrder
from cascadia_sglang.errors import WorkerError
from tests.unit.cluster.faked_nodes import ORDER, FakedNode, Launcher, stays, until


def order(worker_id: str, version: int) -> WorkerOrder:
    return WorkerOrder(
        pool="small",
        worker_id=worker_id,
        number=0,
        replica=RunningReplica(pool="small", gpu="cpu", node=1, base_gpu_id=0),
        version=version,
        input_address="tcp://127.0.0.1:1",
        load_address="tcp://127.0.0.1:2",
    )


def wanted(version: int, *worker_ids: str) -> Wanted:
    return Wanted(version=version, worker_ids=frozenset(worker_ids))


class Node(FakedNode):
    """One whose agent has a lease, and tells when it has ended."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self.agent_ended = threading.Event()
        super().__init__(1)

    def new_agent(self) -> NodeAgent:
        def open_launcher(_: Any) -> tuple[Launcher, NodeFacts]:
            return Launcher(self), NodeFacts(gpu="cpu", devices=2, memory_gib=None)

        end: Callable[[], Any] = self.agent_ended.set
        return NodeAgent(open_launcher, self.lease_s, end)


def test_an_agent_that_nobody_asks_ends_its_workers_and_itself() -> None:
    node = Node(lease_s=0.4)
    node.agent.open(ORDER)
    node.agent.start(order("small-0", 1))
    for _ in range(10):
        node.agent.check(wanted(1, "small-0"), {}, 0.1)
    assert node.living() == ["small-0"]
    until(node.agent_ended.is_set)
    assert node.living() == []
    assert node.workers[0].closed == 1


def test_a_list_that_came_late_ends_no_worker_of_a_later_one() -> None:
    node = Node(lease_s=60)
    node.agent.open(ORDER)
    node.agent.start(order("small-1", 2))
    node.agent.keep(wanted(1))
    assert stays(0.3, lambda: node.living() == ["small-1"])
    node.agent.keep(wanted(2, "small-1"))
    node.agent.keep(wanted(1))
    assert stays(0.3, lambda: node.living() == ["small-1"])
    node.agent.keep(wanted(3))
    until(lambda: node.living() == [])


def test_a_start_that_came_after_its_end_is_refused() -> None:
    node = Node(lease_s=60)
    node.agent.open(ORDER)
    node.agent.keep(wanted(5))
    with pytest.raises(WorkerError, match="not wanted any more"):
        node.agent.start(order("small-1", 4))
    assert node.workers == []


def test_nothing_is_started_before_the_agent_knows_the_server() -> None:
    node = Node(lease_s=60)
    with pytest.raises(WorkerError, match="was not opened"):
        node.agent.start(order("small-1", 1))
