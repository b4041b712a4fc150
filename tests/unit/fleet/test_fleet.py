"""Starting a worker of a server that runs."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import Node, RunningReplica
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import WorkerState, WritablePool
from cascadia_sglang.testing.engine import make_cascade

REPLICA = RunningReplica(pool="small", gpu="cuda", tp_size=1, node=0, base_gpu_id=0)


class SlowLauncher:
    """Takes its time to resolve arguments, and starts workers that are never ready."""

    cluster = Cluster(nodes=(Node(gpu="cuda", devices=1),))

    def __init__(self, resolving_s: float = 0.0, ready_after_s: float = 0.0) -> None:
        self.resolving_s = resolving_s
        self.ready_after_s = ready_after_s
        self.resolved_in: list[threading.Thread] = []
        self.started_in: list[threading.Thread] = []

    def resolved(self, pool: Any, number: int, replica: RunningReplica) -> Any:
        self.resolved_in.append(threading.current_thread())
        time.sleep(self.resolving_s)
        return SimpleNamespace(pool=pool, worker_id=f"{pool.name}-{number}", replica=replica)

    def start(self, resolved: Any) -> Any:
        self.started_in.append(threading.current_thread())
        return SimpleNamespace(
            pool=resolved.pool,
            replica=resolved.replica,
            input_address="inproc://x",
            pids=[],
            kill=lambda: None,
            close=lambda: None,
            is_alive=lambda: True,
            wait_for_ready=lambda: time.sleep(self.ready_after_s),
        )


def fleet_with(launcher: SlowLauncher, **settings: Any) -> Fleet:
    config = msgspec.structs.replace(make_cascade("small", "large"), **settings)
    fleet = Fleet(config, None, {}, WritablePool(), Metrics(()))  # type: ignore[arg-type]
    fleet._starts.launcher = launcher
    fleet._starts.open_socket = lambda _: None  # type: ignore[method-assign]
    return fleet


async def longest_gap_s(until: asyncio.Task[Any]) -> float:
    """How long the event loop was held while a task ran, at most."""
    longest, last = 0.0, time.monotonic()
    while not until.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


async def test_the_event_loop_serves_while_sglang_asks_the_devices() -> None:
    launcher = SlowLauncher(resolving_s=0.6, ready_after_s=0.6)
    starting = asyncio.create_task(fleet_with(launcher, start_limit_s=0.1).start(REPLICA))
    assert await longest_gap_s(starting) < 0.3
    with pytest.raises(WorkerError):
        starting.result()
    main = threading.main_thread()
    assert launcher.resolved_in[0] is not main
    # A worker dies with the thread that starts it.
    assert launcher.started_in == [main]


async def test_a_worker_that_is_not_ready_within_the_limit_is_given_up() -> None:
    fleet = fleet_with(SlowLauncher(ready_after_s=0.5), start_limit_s=0.05)
    with pytest.raises(WorkerError, match=r"was not ready in 0.05 s \(start_limit_s\)"):
        await fleet.start(REPLICA)
    assert list(fleet.pool) == []


async def test_no_process_is_started_for_a_server_that_began_to_stop() -> None:
    launcher = SlowLauncher(resolving_s=0.2)
    fleet = fleet_with(launcher)
    starting = asyncio.create_task(fleet.start(REPLICA))
    await asyncio.sleep(0.05)
    fleet.stop()
    with pytest.raises(WorkerError, match="shutting down"):
        await starting
    assert launcher.started_in == []
    assert not [worker for worker in fleet.pool if worker.state is WorkerState.STARTING]
