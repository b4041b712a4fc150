"""A started scheduler group, as the server holds it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.launch.exit_codes import end_of
from cascadia_sglang.launch.load_reader import published_load
from cascadia_sglang.launch.start_phases import start_phases
from cascadia_sglang.messages import DeviceShare, EventSource
from cascadia_sglang.metrics.counters import forget_gauges
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.speed import PublishedLoad
from cascadia_sglang.processes.liveness import Pulse, is_stopped
from cascadia_sglang.processes.process_ends import ProcessEnds

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from sglang.srt.entrypoints.engine import SchedulerInitResult
    from sglang.srt.managers.load_snapshot import LoadSnapshot, ShmLoadSnapshotReader


@dataclass(slots=True, kw_only=True)
class SchedulerGroup:
    """A started scheduler group on this host.

    Implements `pool.WorkerHandle`, which says what its other fields and its methods are.

    Attributes:
        result: SGLang's launch result, with the schedulers' infos.
        processes: one per rank.
        pulse: tells whether its processes live.
        reader: SGLang's, of the load that its scheduler writes into shared memory.
        remove_files: removes its sockets and its load, once it has ended.
    """

    pool: PoolSpec
    result: SchedulerInitResult
    processes: Sequence[BaseProcess]
    input_address: str
    replica: RunningReplica
    limits: Limits
    started: float
    pulse: Pulse
    reader: ShmLoadSnapshotReader
    remove_files: Callable[[], None]
    phases: Mapping[str, float] = field(default_factory=dict)
    events: EventSource | None = None
    page_tokens: int = 1
    capacity_tokens: int = 0
    devices: tuple[int, ...] = ()
    device_share: DeviceShare | None = None
    _ends: ProcessEnds = field(default_factory=ProcessEnds)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes if process.pid is not None]

    @property
    def scheduler_infos(self) -> Sequence[Mapping[str, Any]]:
        infos: Sequence[Mapping[str, Any]] = self.result.scheduler_infos
        return infos

    def is_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def end(self) -> WorkerEnd:
        return end_of([process.exitcode for process in self.processes])

    def stall(self) -> WorkerEnd | None:
        silent = self.pulse.find_stalled(self.pids)
        if not silent:
            return None
        return WorkerEnd.OUTSIDE if any(map(is_stopped, silent)) else WorkerEnd.OWN_ERROR

    def on_end(self, wake: Callable[[], None]) -> None:
        self._ends.watch(self.processes, wake)

    def load(self) -> PublishedLoad | None:
        return published_load(self.reader)

    def snapshots(self) -> Sequence[LoadSnapshot]:
        """Blocks while the worker writes, so for as long as it is stopped where it was about to."""
        snapshots: Sequence[LoadSnapshot] = self.reader.read_all()
        return snapshots

    def wait_for_ready(self) -> None:
        try:
            self.result.wait_for_ready()
        except (RuntimeError, WorkerError) as error:
            raise WorkerError(
                f"a worker of tier {self.pool.name} ({self.pool.model_path}) did not start: {error}"
            ) from error
        infos = self.result.scheduler_infos
        seconds = time.monotonic() - self.started
        self.phases = start_phases(seconds, [info.get("startup_time") for info in infos])
        self.capacity_tokens = infos[0]["max_total_num_tokens"]
        input_tokens = infos[0]["max_req_input_len"]
        self.limits = dataclasses.replace(self.limits, input_tokens=input_tokens)

    def kill(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()

    def join(self, deadline: float) -> bool:
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        return not any(process.is_alive() for process in self.processes)

    def close(self) -> None:
        self._ends.close()
        self.pulse.close()
        self.reader.close()
        self.remove_files()
        forget_gauges(self.pids)
