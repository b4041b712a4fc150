"""Workers on other machines, from their start to every kind of loss, without Ray."""

import asyncio
from collections.abc import Iterator

import pytest

from cascadia_sglang.errors import ClusterError, NodeLostError, WorkerError
from cascadia_sglang.pool.worker_ends import WorkerEnd
from tests.unit.cluster.faked_nodes import HEARTBEAT_S, LIMITS, ORDER, Scene, stays, until


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.link.join()


@pytest.fixture
def opened(scene: Scene) -> Scene:
    scene.open()
    return scene


def test_a_worker_is_what_its_agent_says_once_it_is_ready(opened: Scene) -> None:
    handle = opened.start()
    assert handle.is_alive()
    handle.wait_for_ready()
    assert handle.limits == LIMITS
    assert (handle.page_tokens, handle.capacity_tokens) == (16, 4096)
    assert (handle.devices, handle.phases) == ((3,), {"process": 1.0})
    assert handle.scheduler_infos == [{"max_total_num_tokens": 4096}]
    # Numbers of processes there are those of other processes here.
    assert list(handle.pids) == []
    (worker,) = opened.link.nodes[1].workers
    assert worker.order.input_address == handle.input_address
    assert worker.order.input_address != worker.order.load_address


def test_nothing_fits_a_worker_that_is_not_ready(opened: Scene) -> None:
    opened.link.nodes[1].holds_starts = True
    handle = opened.start()
    assert (handle.limits.context_tokens, handle.capacity_tokens) == (0, 0)
    assert handle.is_alive()


def test_a_start_that_is_refused_says_why(opened: Scene) -> None:
    opened.link.nodes[1].refuses = True
    handle = opened.start()
    with pytest.raises(WorkerError, match=r"tier small .*did not start: its flags are wrong"):
        handle.wait_for_ready()
    handle.kill()
    handle.close()
    assert opened.addresses.given == set()


def test_addresses_are_given_back_once(opened: Scene) -> None:
    handle = opened.start()
    handle.wait_for_ready()
    handle.kill()
    # Another worker gets them, before the first is let go of.
    opened.addresses.given = {handle.input_address, handle.load_address}
    handle.close()
    assert opened.addresses.given == {handle.input_address, handle.load_address}


def test_a_worker_that_ends_while_it_starts_fails_its_start(opened: Scene) -> None:
    opened.link.nodes[1].holds_starts = True
    handle = opened.start()
    until(lambda: opened.link.nodes[1].workers != [])
    opened.link.nodes[1].workers[0].die(WorkerEnd.OWN_ERROR)
    with pytest.raises(WorkerError, match="tier small"):
        handle.wait_for_ready()


@pytest.mark.parametrize("end", [WorkerEnd.OWN_ERROR, WorkerEnd.OUTSIDE])
async def test_the_end_of_a_worker_wakes_the_server_and_keeps_its_cause(
    opened: Scene, end: WorkerEnd
) -> None:
    handle, woken = opened.start(), asyncio.Event()
    await asyncio.to_thread(handle.wait_for_ready)
    handle.on_end(woken.set)
    opened.link.nodes[1].workers[0].die(end)
    async with asyncio.timeout(5):
        await woken.wait()
    assert not handle.is_alive()
    assert handle.end() is end
    assert handle.join(0.0)


def test_a_worker_without_signs_of_life_counts_as_ended(opened: Scene) -> None:
    handle = opened.start()
    handle.wait_for_ready()
    opened.link.nodes[1].workers[0].is_stalled = True
    until(lambda: not handle.is_alive())
    assert handle.end() is WorkerEnd.OWN_ERROR


def test_a_killed_worker_is_ended_there_and_its_neighbour_is_not(opened: Scene) -> None:
    first, second = opened.start(device=0), opened.start(device=1)
    first.wait_for_ready()
    second.wait_for_ready()
    first.kill()
    first.close()
    node = opened.link.nodes[1]
    until(lambda: node.living() == [second.worker_id])
    assert not first.is_alive()
    assert second.is_alive()
    until(lambda: [worker.closed for worker in node.workers] == [1, 0])
    assert opened.addresses.given == {second.input_address, second.load_address}


def test_a_worker_that_is_killed_while_it_starts_does_not_stay(opened: Scene) -> None:
    node = opened.link.nodes[1]
    node.holds_starts = True
    handle = opened.start()
    handle.kill()
    with pytest.raises(WorkerError):
        handle.wait_for_ready()
    until(lambda: node.living() == [])
    assert opened.is_up()


def test_a_silent_node_loses_its_workers_once_and_ends_them_before_it_is_up(
    opened: Scene,
) -> None:
    node = opened.link.nodes[1]
    handles = [opened.start(device=device) for device in (0, 1)]
    for handle in handles:
        handle.wait_for_ready()
    node.is_silent = True
    until(lambda: not opened.is_up())
    assert {handle.end() for handle in handles} == {WorkerEnd.LOST_NODE}
    # They still run there, and nobody else may have their devices yet.
    assert len(node.living()) == 2
    with pytest.raises(NodeLostError):
        opened.start()
    node.is_silent = False
    until(opened.is_up)
    assert node.living() == []
    assert node.opened == 2
    # The first end counts, whatever comes after it.
    assert {handle.end() for handle in handles} == {WorkerEnd.LOST_NODE}
    again = opened.start()
    again.wait_for_ready()
    assert node.living() == [again.worker_id]


def test_a_short_silence_changes_nothing(opened: Scene) -> None:
    handle = opened.start()
    handle.wait_for_ready()
    opened.link.nodes[1].is_silent = True
    assert stays(HEARTBEAT_S / 2, opened.is_up)
    opened.link.nodes[1].is_silent = False
    assert stays(HEARTBEAT_S, handle.is_alive)
    assert opened.link.nodes[1].opened == 1


def test_a_node_whose_agent_is_another_has_lost_its_workers(opened: Scene) -> None:
    handle = opened.start()
    handle.wait_for_ready()
    opened.link.end_agent(1)
    until(lambda: not handle.is_alive())
    assert handle.end() is WorkerEnd.LOST_NODE
    until(opened.is_up)
    opened.start().wait_for_ready()


def test_two_nodes_are_lost_one_after_the_other() -> None:
    scene = Scene(2)
    scene.open()
    first, second = scene.start(node=1), scene.start(node=2)
    first.wait_for_ready()
    second.wait_for_ready()
    scene.link.end_agent(1)
    until(lambda: not first.is_alive())
    assert second.is_alive()
    scene.link.nodes[2].is_silent = True
    until(lambda: not second.is_alive())
    assert {first.end(), second.end()} == {WorkerEnd.LOST_NODE}
    scene.link.join()


def test_a_server_does_not_start_without_its_nodes(scene: Scene) -> None:
    scene.link.nodes[1].problem = "tier small: '/models/small' does not exist there"
    with pytest.raises(ClusterError, match=r"node 1 \(host\): tier small: '/models/small'"):
        scene.nodes.open(ORDER, 5.0)


def test_a_node_without_an_agent_is_named_at_the_start(scene: Scene) -> None:
    scene.link.nodes[1].is_silent = True
    with pytest.raises(ClusterError, match="not every node has an agent"):
        scene.nodes.open(ORDER, 0.2)
