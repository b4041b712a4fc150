"""A started worker, as those need it who hold one of its pool's workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.messages import DeviceShare, EventSource
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.prefix.speed import PublishedLoad

if TYPE_CHECKING:
    from sglang.srt.managers.load_snapshot import LoadSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What fits a worker, in tokens.

    Attributes:
        context_tokens: prompt and answer together.
        input_tokens: a prompt must be shorter.
        vocabulary: how many token ids its model knows.
    """

    context_tokens: int
    input_tokens: int
    vocabulary: int


class WorkerHandle(Protocol):
    """What is known of a worker, and what may be done to it, wherever its processes run.

    Attributes:
        pool: whose replica it is.
        replica: its shape, and the devices that it holds; on a CPU they are numbers alone.
        limits: what fits it; without the length of a prompt until it is ready.
        input_address: where its requests go.
        started: on the monotonic clock, in seconds.
        phases: seconds of each phase of its start; empty until it is ready.
        events: where it publishes what its prefix cache holds; None where it does not.
        page_tokens: of its KV pool.
        capacity_tokens: of its KV pool; 0 until it is ready.
        devices: numbers of its accelerators; none on a host.
        device_share: its part of each, where it shares them.
    """

    pool: PoolSpec
    replica: RunningReplica
    limits: Limits
    input_address: str
    started: float
    phases: Mapping[str, float]
    events: EventSource | None
    page_tokens: int
    capacity_tokens: int
    devices: tuple[int, ...]
    device_share: DeviceShare | None

    @property
    def pids(self) -> Sequence[int]:
        """Its processes on this host, to be shown; none where they run elsewhere."""
        ...

    @property
    def scheduler_infos(self) -> Sequence[Mapping[str, Any]]:
        """What SGLang's schedulers say of themselves, one a rank; empty until it is ready."""
        ...

    def wait_for_ready(self) -> None:
        """Block until every rank is ready; WorkerError if one of them ended on the way."""
        ...

    def is_alive(self) -> bool:
        """Whether none of its ranks has ended, as far as is known."""
        ...

    def end(self) -> WorkerEnd:
        """Whose doing the end of its ranks is, of those that have ended."""
        ...

    def stall(self) -> WorkerEnd | None:
        """Look for signs of life; whose doing it is that they are missing, None while they come.

        Call it once every `processes.liveness.LOOK_S`.
        """
        ...

    def on_end(self, wake: Callable[[], None]) -> None:
        """Have this called on the event loop when a rank ends; it takes an earlier one's place."""
        ...

    def load(self) -> PublishedLoad | None:
        """What its scheduler published last; None where nothing can be read now. Never blocks."""
        ...

    def snapshots(self) -> Sequence[LoadSnapshot]:
        """The same in SGLang's own words; may block."""
        ...

    def kill(self) -> None:
        """End every rank at once."""
        ...

    def join(self, deadline: float) -> bool:
        """Wait for the ranks until the monotonic deadline; whether all ended."""
        ...

    def close(self) -> None:
        """Let go of what is open towards it, once it is killed or has ended."""
        ...
