"""A worker on another machine, as the server holds it."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.cluster.wire import ReadyWorker, WorkerOrder
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import CascadiaError, WorkerError
from cascadia_sglang.messages import DeviceShare, EventSource
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.speed import PublishedLoad

if TYPE_CHECKING:
    from sglang.srt.managers.load_snapshot import LoadSnapshot

_UNKNOWN = Limits(context_tokens=0, input_tokens=0, vocabulary=0)


class RemoteLoad(Protocol):
    """What the worker publishes of its load."""

    def load(self) -> PublishedLoad | None: ...

    def snapshots(self) -> list[LoadSnapshot]: ...

    def close(self) -> None: ...


class RemoteHandle:
    """Knows of the worker what its node's agent has told.

    Implements `pool.WorkerHandle`, which says what its other fields and its methods are. Before the
    worker is ready, nothing fits it.
    """

    # What it holds in its cache does not leave its host.
    events: EventSource | None = None
    # Those of another host mean other processes here.
    pids: Sequence[int] = ()

    def __init__(
        self,
        pool: PoolSpec,
        order: WorkerOrder,
        load: RemoteLoad,
        release: Callable[[RemoteHandle], None],
    ) -> None:
        """`release` has the agent end the worker, and gives its addresses back."""
        self.pool = pool
        self.worker_id = order.worker_id
        self.replica: RunningReplica = order.replica
        self.limits = _UNKNOWN
        self.input_address = order.input_address
        self.load_address = order.load_address
        self.started = time.monotonic()
        self.phases: Mapping[str, float] = {}
        self.page_tokens = 1
        self.capacity_tokens = 0
        self.devices: tuple[int, ...] = ()
        self.device_share: DeviceShare | None = None
        self.scheduler_infos: Sequence[Mapping[str, Any]] = ()
        self._load = load
        self._release = release
        self._lock = threading.Lock()
        self._is_released = False
        self._end: WorkerEnd | None = None
        self._problem: str | None = None
        self._answered = threading.Event()
        self._gone = threading.Event()
        self._wake: Callable[[], None] = lambda: None

    def await_start(self, answer: Future[bytes]) -> None:
        """Take in what the agent says of the start, once it does."""
        answer.add_done_callback(self._take)

    def ended(self, end: WorkerEnd) -> None:
        """The worker has ended, or counts as lost. The first end counts. Any thread may say so."""
        with self._lock:
            self._end = self._end or end
            wake = self._wake
        if end is WorkerEnd.LOST_NODE:
            # Otherwise the agent says why a start failed.
            self._answered.set()
        self._gone.set()
        wake()

    def wait_for_ready(self) -> None:
        self._answered.wait()
        name = f"a worker of tier {self.pool.name} ({self.pool.model_path})"
        if self._problem is not None:
            raise WorkerError(f"{name} did not start: {self._problem}")
        if self._end is not None:
            raise WorkerError(f"{name} ended before it was ready: {self._end.value}")

    def is_alive(self) -> bool:
        return self._end is None

    def end(self) -> WorkerEnd:
        return self._end or WorkerEnd.OUTSIDE

    def stall(self) -> WorkerEnd | None:
        """The agent looks for signs of life, and counts a worker without any as ended."""
        return None

    def on_end(self, wake: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def wake_there() -> None:
            # The loop is closed when the server ends.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

        with self._lock:
            self._wake = wake_there

    def load(self) -> PublishedLoad | None:
        return self._load.load()

    def snapshots(self) -> Sequence[LoadSnapshot]:
        return self._load.snapshots()

    def kill(self) -> None:
        with self._lock:
            self._end = self._end or WorkerEnd.OUTSIDE
        self._answered.set()
        self._release_once()

    def join(self, deadline: float) -> bool:
        return self._gone.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        self._load.close()
        self._release_once()

    def _release_once(self) -> None:
        # Its addresses may be another worker's by the second time.
        with self._lock:
            is_released, self._is_released = self._is_released, True
        if not is_released:
            self._release(self)

    def _take(self, answer: Future[bytes]) -> None:
        error = answer.exception()
        if error is None:
            ready: ReadyWorker = pickle.loads(answer.result())
            self.limits = ready.limits
            self.phases = ready.phases
            self.page_tokens = ready.page_tokens
            self.capacity_tokens = ready.capacity_tokens
            self.devices = ready.devices
            self.device_share = ready.device_share
            self.scheduler_infos = ready.scheduler_infos
        else:
            is_ours = isinstance(error, CascadiaError)
            self._problem = str(error) if is_ours else repr(error)
        self._answered.set()
