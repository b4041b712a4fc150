"""A started scheduler group, as the server holds it."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import DeviceShare, EventSource
from cascadia_sglang.planner.capacity_types import RunningReplica
from cascadia_sglang.pool_specs import PoolSpec
from cascadia_sglang.workers.ends import End, end_of
from cascadia_sglang.workers.heart import Pulse
from cascadia_sglang.workers.pool import Limits
from cascadia_sglang.workers.start_phases import start_phases


@dataclass(slots=True, kw_only=True)
class WorkerHandle:
    """A started scheduler group.

    Attributes:
        pool: whose replica it is.
        result: SGLang's launch result, with `wait_for_ready` and the schedulers' infos.
        processes: one a rank.
        input_address: where its requests go.
        replica: its shape, and the devices that it holds; on a CPU they are numbers alone.
        pulse: tells whether its processes live.
        loads: SGLang's reader of the load that its scheduler writes into shared memory.
        phases: seconds of each of its start's phases; empty until it is ready.
        events: where it publishes what its prefix cache holds; None where it does not.
        page_tokens: of its KV pool.
        capacity_tokens: of its KV pool; 0 until it is ready.
        devices: numbers of its accelerators; none on a host.
        device_share: its part of each, where it shares them.
    """

    pool: PoolSpec
    result: Any
    processes: list[Any]
    input_address: str
    replica: RunningReplica
    limits: Limits
    started: float
    pulse: Pulse
    loads: Any
    phases: dict[str, float] = field(default_factory=dict)
    events: EventSource | None = None
    page_tokens: int = 1
    capacity_tokens: int = 0
    devices: tuple[int, ...] = ()
    device_share: DeviceShare | None = None

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def is_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def end(self) -> End:
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
