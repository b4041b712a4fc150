"""Ray's driver as a child process of the server, started again when it ends.

Ray ends a driver that has lost the cluster's head for a minute, and nobody's request may end with
it. The agents outlive the driver: the next one finds them by their names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Protocol

from cascadia_sglang.cluster.wire import (
    AgentAnswer,
    Call,
    Connected,
    DriverOrder,
    Keep,
    Sign,
    Trouble,
)
from cascadia_sglang.errors import WorkerError

logger = logging.getLogger(__name__)

_MODULE = "cascadia_sglang.cluster.ray_driver"
# Between two looks at the pipe. What passes in one of them counts as no more than twice that.
TICK_S = 0.1
# Before the next is started, twice as long each time until one is connected.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
# It ends the agents on its way out.
END_S = 2.0


class Listener(Protocol):
    """Who hears what comes from the nodes. Called in one thread, which is not the event loop's."""

    def heard(self, message: Connected | Trouble | Sign) -> None: ...

    def passed(self, seconds: float) -> None:
        """So much time has gone by in which a message would have been heard."""
        ...


class Link(Protocol):
    """The way to the agents."""

    def begin(self, listener: Listener) -> None:
        """Have it hear every message from now on."""
        ...

    def call(self, number: int, method: str, argument: bytes) -> Future[bytes]:
        """Call a method of a node's agent; WorkerError where that fails."""
        ...

    def keep(self, order: Keep) -> None:
        """Tell a node's agent which workers it is to have; the last such order counts."""
        ...

    def close(self) -> None:
        """End the agents, with all that they run."""
        ...


class DriverProcess:
    """Owns the driver's process and the pipe to it. Implements `Link`."""

    def __init__(self, order: DriverOrder) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._call_ids = itertools.count()
        self._calls: dict[int, Future[bytes]] = {}
        self._kept: dict[int, Keep] = {}
        self._pipe: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, listener: Listener) -> None:
        self._start(self._order)
        self._thread = threading.Thread(
            target=self._run, args=(listener,), daemon=True, name="cascadia-cluster"
        )
        self._thread.start()

    def call(self, number: int, method: str, argument: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        call = Call(call_id=next(self._call_ids), number=number, method=method, argument=argument)
        with self._lock:
            self._calls[call.call_id] = future
        if not self._send(call):
            self._fail(call.call_id, "the driver of the cluster is away")
        return future

    def keep(self, order: Keep) -> None:
        with self._lock:
            self._kept[order.number] = order
        self._send(order)

    def close(self) -> None:
        self._closing.set()
        self._send(None)
        process = self._process
        if process is None:
            return
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            # The agents end by themselves when nobody has asked for them for a while.
            process.kill()
            process.wait()

    def _start(self, order: DriverOrder) -> None:
        ours, theirs = multiprocessing.Pipe()
        with theirs:
            command = [sys.executable, "-m", _MODULE, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # Ctrl-C is the server's to handle.
                start_new_session=True,
            )
        ours.send(order)
        with self._lock:
            self._pipe = ours
            remaining = list(self._kept.values())
        for keep in remaining:
            self._send(keep)

    def _run(self, listener: Listener) -> None:
        """Listen for the life of the server."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if self._listen(listener):
                pause_s = _FIRST_PAUSE_S
            process = self._process
            assert process is not None
            code = process.wait()
            if self._closing.is_set():
                return
            logger.info("the driver of the cluster ended (%s); the next in %g s", code, pause_s)
            self._pass(listener, pause_s)
            if self._closing.is_set():
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._start(dataclasses.replace(self._order, is_first=False))

    def _listen(self, listener: Listener) -> bool:
        """Hear one driver until it ends; whether it was connected."""
        pipe, is_connected = self._pipe, False
        assert pipe is not None
        before = time.monotonic()
        try:
            while True:
                is_there = pipe.poll(TICK_S)
                now = time.monotonic()
                # While this process itself is held up, nobody's time runs.
                listener.passed(min(now - before, 2 * TICK_S))
                before = now
                if is_there:
                    message = pipe.recv()
                    is_connected |= isinstance(message, Connected)
                    self._take(message, listener)
        except (EOFError, OSError):
            with self._lock:
                self._pipe = None
            pipe.close()
            for call_id in list(self._calls):
                self._fail(call_id, "the driver of the cluster ended meanwhile")
            return is_connected

    def _pass(self, listener: Listener, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._closing.wait(TICK_S):
            listener.passed(TICK_S)

    def _take(self, message: Connected | Trouble | Sign | AgentAnswer, listener: Listener) -> None:
        if not isinstance(message, AgentAnswer):
            # One message that fails must not leave the server deaf.
            try:
                listener.heard(message)
            except Exception:
                logger.exception("a message of the cluster failed")
        elif message.error is not None:
            self._fail(message.call_id, message.error)
        else:
            with self._lock:
                future = self._calls.pop(message.call_id, None)
            if future is not None:
                future.set_result(message.value)

    def _fail(self, call_id: int, why: str) -> None:
        with self._lock:
            future = self._calls.pop(call_id, None)
        if future is not None:
            future.set_exception(WorkerError(why))

    def _send(self, message: Call | Keep | None) -> bool:
        """Whether the driver was there to be told."""
        with self._lock:
            if self._pipe is None:
                return False
            with contextlib.suppress(OSError):
                self._pipe.send(message)
                return True
        return False


# What starts a link; tests have another.
StartLink = Callable[[DriverOrder], Link]
