"""Loads that workers elsewhere send."""

import time
from collections.abc import Iterator

import pytest
import zmq
from sglang.srt.managers.load_snapshot import LoadSnapshot, snapshot_encoder

from cascadia_sglang.cluster.addresses import Addresses
from cascadia_sglang.cluster.loads import LoadReceiver
from tests.unit.cluster.faked_nodes import until

ADDRESSES = Addresses("127.0.0.1", None)


@pytest.fixture
def receiver() -> Iterator[LoadReceiver]:
    receiver = LoadReceiver()
    yield receiver
    receiver.close()


class Sender:
    """Sends as the schedulers of workers do, over sockets that stay open."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self._sockets: dict[str, zmq.Socket] = {}

    def send(self, address: str, snapshot: LoadSnapshot) -> None:
        if address not in self._sockets:
            self._sockets[address] = self.context.socket(zmq.PUSH)
            self._sockets[address].connect(address)
        self._sockets[address].send(snapshot_encoder.encode(snapshot))


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.context.destroy(linger=0)


def snapshot(running: int, at_s: float = 0.0) -> LoadSnapshot:
    return LoadSnapshot(timestamp=at_s, num_running_reqs=running, max_running_requests=8)


def test_a_load_is_of_the_moment_at_which_it_came(receiver: LoadReceiver, sender: Sender) -> None:
    """The clock of the other host may be an hour off."""
    address = ADDRESSES.take()
    load = receiver.listen(address)
    assert load.load() is None
    assert load.snapshots() == []
    before = time.time()
    sender.send(address, snapshot(3, at_s=before - 3600))
    until(lambda: load.load() is not None)
    published = load.load()
    assert published is not None
    assert before <= published.at_s <= time.time()
    assert (published.running, published.max_running) == (3, 8)
    assert [one.num_running_reqs for one in load.snapshots()] == [3]


def test_the_last_load_counts_and_each_worker_has_its_own(
    receiver: LoadReceiver, sender: Sender
) -> None:
    addresses = [ADDRESSES.take() for _ in range(2)]
    loads = [receiver.listen(address) for address in addresses]
    sender.send(addresses[0], snapshot(1))
    until(lambda: loads[0].load() is not None)
    sender.send(addresses[0], snapshot(2))
    until(lambda: getattr(loads[0].load(), "running", None) == 2)
    assert loads[1].load() is None


def test_a_load_from_before_the_worker_serves_is_none(
    receiver: LoadReceiver, sender: Sender
) -> None:
    address = ADDRESSES.take()
    load = receiver.listen(address)
    sender.send(address, LoadSnapshot())
    until(lambda: load.snapshots() != [])
    assert load.load() is None


def test_the_address_of_a_worker_that_is_gone_is_free_again(receiver: LoadReceiver) -> None:
    address = ADDRESSES.take()
    first = receiver.listen(address)
    first.close()
    first.close()

    def listens() -> bool:
        try:
            receiver.listen(address)
        except zmq.ZMQError:
            return False
        return True

    until(listens)
