"""Takes in what workers on other machines publish of their loads."""

from __future__ import annotations

import queue
import threading
import time

import zmq
from sglang.srt.managers.load_snapshot import LoadSnapshot, snapshot_decoder
from sglang.srt.utils.network import is_zmq_endpoint_ipv6, restrict_zmq_peers

from cascadia_sglang.launch.load_reader import load_of
from cascadia_sglang.prefix.speed import PublishedLoad

# How late a new worker's first load, and the end of a socket, may be noticed.
_POLL_MS = 50


class PushedLoad:
    """The last load of one worker, and when it came on this host's clock."""

    def __init__(self, socket: zmq.Socket, receiver: LoadReceiver) -> None:
        self.socket = socket
        self._receiver = receiver
        self._last: tuple[bytes, float] | None = None
        self._decoded: tuple[bytes, LoadSnapshot] | None = None

    def came(self, data: bytes) -> None:
        """Take one in. The worker's clock may be any other, so it counts from now."""
        self._last = (data, time.time())

    def snapshots(self) -> list[LoadSnapshot]:
        """The last one in SGLang's words; none before the first."""
        return [] if self._last is None else [self._snapshot(self._last[0])]

    def load(self) -> PublishedLoad | None:
        """The last one for the choice of a worker; None before the first."""
        last = self._last
        if last is None:
            return None
        return load_of(self._snapshot(last[0]), at_s=last[1])

    def close(self) -> None:
        """Take no more in. A second call does nothing."""
        self._receiver.drop(self)

    def _snapshot(self, data: bytes) -> LoadSnapshot:
        decoded = self._decoded
        if decoded is None or decoded[0] is not data:
            self._decoded = decoded = (data, snapshot_decoder.decode(data))
        return decoded[1]


class LoadReceiver:
    """One thread that receives the loads of all workers on other machines."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._changes: queue.SimpleQueue[tuple[PushedLoad, bool]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="cascadia-loads")
        self._thread.start()

    def listen(self, address: str) -> PushedLoad:
        """Receive what a worker publishes at this address from now on.

        Raises:
            zmq.ZMQError: if the address is in use.
        """
        socket = self._context.socket(zmq.PULL)
        # Only the last one counts; set before the socket is bound.
        socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        if is_zmq_endpoint_ipv6(address):
            socket.setsockopt(zmq.IPV6, 1)
        restrict_zmq_peers(self._context, socket)
        socket.bind(address)
        load = PushedLoad(socket, self)
        # A socket belongs to one thread at a time: from here on to the receiver's.
        self._changes.put((load, True))
        return load

    def drop(self, load: PushedLoad) -> None:
        """Close the socket of a worker that is gone."""
        self._changes.put((load, False))

    def close(self) -> None:
        """Receive nothing any more, and close every socket."""
        self._ended.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        loads: dict[zmq.Socket, PushedLoad] = {}
        poller = zmq.Poller()
        while not self._ended.is_set():
            self._change(loads, poller)
            if not loads:
                self._ended.wait(_POLL_MS / 1000)
            for socket, _ in poller.poll(_POLL_MS) if loads else ():
                loads[socket].came(socket.recv(zmq.NOBLOCK))
        for socket in loads:
            socket.close(linger=0)
        self._context.term()

    def _change(self, loads: dict[zmq.Socket, PushedLoad], poller: zmq.Poller) -> None:
        while not self._changes.empty():
            load, is_new = self._changes.get()
            if is_new:
                loads[load.socket] = load
                poller.register(load.socket, zmq.POLLIN)
            elif loads.pop(load.socket, None) is not None:
                poller.unregister(load.socket)
                load.socket.close(linger=0)
