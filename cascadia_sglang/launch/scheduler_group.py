"""A started scheduler group, as the server holds it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.launch.start_phases import start_phases
from cascadia_sglang.messages import DeviceShare, EventSource
from cascadia_sglang.pool.pool import Limits
from cascadia_sglang.pool.worker_ends import WorkerEnd, end_of
from cascadia_sglang.processes.liveness import Pulse

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from sglang.srt.entrypoints.engine import SchedulerInitResult
    from sglang.srt.managers.load_snapshot import ShmLoadSnapshotReader


@dataclass(slots=True, kw_only=True)
class SchedulerGroup:
    """A started scheduler group. Implements `pool.WorkerHandle`, which says what its fields are."""

    pool: PoolSpec
    result: SchedulerInitResult
    processes: Sequence[BaseProcess]
    input_address: str
    replica: RunningReplica
    limits: Limits
    started: float
    pulse: Pulse
    loads: ShmLoadSnapshotReader
    phases: Mapping[str, float] = field(default_factory=dict)
    events: EventSource | None = None
    page_tokens: int = 1
    capacity_tokens: int = 0
    devices: tuple[int, ...] = ()
    device_share: DeviceShare | None = None

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes if process.pid is not None]

    def is_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def end(self) -> WorkerEnd:
        """Whose doing the end of its ranks is, of those that have ended."""
        return end_of([process.exitcode for process in self.processes])

    def wait_for_ready(self) -> None:
        """Block until every rank is ready.

        Raises:
            WorkerError: if one of them died on the way.
        """
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
        """End every rank at once."""
        for process in self.processes:
            if process.is_alive():
                process.kill()

    def join(self, deadline: float) -> bool:
        """Wait for the ranks until `time.monotonic()` reaches the deadline; whether all ended."""
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        return not any(process.is_alive() for process in self.processes)
