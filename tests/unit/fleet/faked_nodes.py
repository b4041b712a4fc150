"""A fleet on made-up nodes: their agents start workers, die with them, and come back empty."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.service_placement import place_in_service
from cascadia_sglang.capacity.types import Capacity, Node, RunningPlan, RunningReplica
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.launch import this_host
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import WorkerState, WritablePool
from cascadia_sglang.pool.worker_ends import WorkerEnd
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.server import supervisor as supervisor_module
from cascadia_sglang.server.supervisor import Supervisor
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.controller.fakes import Router


class Handle:
    """A worker on a node. Implements `WorkerHandle` as far as a fleet without requests asks."""

    events = device_share = None
    page_tokens, capacity_tokens, devices, pids, scheduler_infos = 1, 99, (), (), ()
    phases = {"process": 1.0}  # noqa: RUF012  of the protocol

    def __init__(self, pool: Any, worker_id: str, replica: RunningReplica) -> None:
        self.pool, self.worker_id, self.replica = pool, worker_id, replica
        self.limits = Limits(context_tokens=99, input_tokens=90, vocabulary=64)
        self.input_address = f"inproc://{worker_id}"
        self.started = time.monotonic()
        self.ended: WorkerEnd | None = None
        self.closed = 0
        self._ready = threading.Event()
        self._wake: Callable[[], None] = lambda: None

    def become_ready(self) -> None:
        self._ready.set()

    def wait_for_ready(self) -> None:
        self._ready.wait(10)
        if self.ended is not None:
            raise WorkerError(f"worker {self.worker_id} ended")

    def is_alive(self) -> bool:
        return self.ended is None

    def end(self) -> WorkerEnd:
        assert self.ended is not None
        return self.ended

    def die(self, end: WorkerEnd) -> None:
        """End it, and say so at once."""
        self.ended = self.ended or end
        self._ready.set()
        self._wake()

    def kill(self) -> None:
        self.die(WorkerEnd.OUTSIDE)

    def stall(self) -> None:
        return None

    def on_end(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def load(self) -> None:
        return None

    def close(self) -> None:
        self.closed += 1


class Launcher:
    """One agent a node. No device ever has two workers."""

    def __init__(self, nodes: Sequence[Node], blocks: Blocks) -> None:
        self.cluster = Cluster(nodes=tuple(nodes))
        self.blocks = blocks
        self.replicas: Sequence[RunningReplica] = ()
        self.handles: list[Handle] = []
        self.holds_starts = False

    def node(self, name: str) -> Node:
        return next(node for node in self.cluster.nodes if node.name == name)

    def set_up(self, name: str, *, is_up: bool) -> None:
        """Take a node away, with all its workers, or let it come back."""
        nodes = tuple(
            msgspec.structs.replace(node, is_up=is_up) if node.name == name else node
            for node in self.cluster.nodes
        )
        lost = [handle for handle in self.living() if self.node(name) in self.lies_on(handle)]
        self.cluster = msgspec.structs.replace(self.cluster, nodes=nodes)
        for handle in lost if not is_up else ():
            handle.die(WorkerEnd.LOST_NODE)

    def living(self) -> list[Handle]:
        return [handle for handle in self.handles if handle.is_alive()]

    def lies_on(self, handle: Handle) -> list[Node]:
        return self.cluster.nodes_of(handle.replica)

    def resolved(self, pool: Any, number: int, replica: RunningReplica) -> Any:
        return SimpleNamespace(pool=pool, worker_id=f"{pool.name}-{number}", replica=replica)

    def start(self, resolved: Any) -> Handle:
        replica = resolved.replica
        if not self.cluster.is_up(replica):
            raise WorkerError("its node is away")
        mine = set(self.cluster.devices_of(replica))
        for other in self.living():
            mates = {*self.blocks.group_of(replica.pool)} - {replica.pool}
            is_apart = mine.isdisjoint(self.cluster.devices_of(other.replica))
            assert is_apart or other.pool.name in mates, (replica, other.replica)
        handle = Handle(resolved.pool, resolved.worker_id, replica)
        self.handles.append(handle)
        if not self.holds_starts:
            handle.become_ready()
        return handle


class Scene:
    """A server of some pools on some nodes, watched by the real supervisor."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        nodes: dict[str, int],
        capacities: dict[str, Capacity],
        *,
        blocks: Blocks = Blocks(),  # noqa: B008  immutable
        standby: int = 0,
        gpu: str = "cuda",
        replicas: Sequence[RunningReplica] | None = None,
    ) -> None:
        made = [
            Node(gpu=gpu, number=number, name=name, devices=size, is_local=number == 0)
            for number, (name, size) in enumerate(nodes.items())
        ]
        self.launcher = Launcher(made, blocks)
        nothing = RunningPlan(replicas=(), thresholds=())
        self.launcher.replicas = replicas or place_in_service(
            nothing, capacities, self.launcher.cluster, None
        )
        monkeypatch.setattr(this_host, "launcher_of", lambda *_: self.launcher)
        monkeypatch.setattr(supervisor_module, "LOOK_S", 0.02)
        config = make_cascade(*capacities)
        tiers = [
            msgspec.structs.replace(tier, replicas=capacities[tier.name].replicas)
            for tier in config.tiers
        ]
        tiers[0] = msgspec.structs.replace(tiers[0], standby=standby)
        self.config = msgspec.structs.replace(config, tiers=tiers)
        sizes = {
            pool: {"tp_size": capacity.tp_size, "pp_size": capacity.pp_size}
            for pool, capacity in capacities.items()
        }
        arguments: Any = SimpleNamespace(parallel_sizes=lambda spec: sizes[spec.name])
        self.pool = WritablePool()
        self.fleet = Fleet(self.config, arguments, {}, self.pool, Metrics(()))
        self.fleet._starts.open_socket = lambda _: None  # type: ignore[method-assign]
        self.suspects: list[str] = []
        self.fleet.engine.fail_attempts = self._fail  # type: ignore[method-assign]
        self.mover = Mover(self.fleet, Router(), self.config, Metrics(()), drain_s=0.0)
        self._supervisor = Supervisor(self.fleet, [], None)  # type: ignore[arg-type]

    def _fail(self, worker: Any, on_explained: Any = None) -> None:
        if on_explained is not None:
            self.suspects.append(worker.worker_id)

    async def __aenter__(self) -> "Scene":
        self.fleet.admit_when_ready(self.fleet.launch(None, None))  # type: ignore[arg-type]
        self._watch = asyncio.create_task(self._supervisor._keep_watching())
        self.fleet.standbys.refill()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        self.fleet.stop()
        for worker in list(self.pool):
            self.fleet.lose(worker, "the test ends")
        assert all(handle.closed == 1 for handle in self.launcher.handles)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                await asyncio.sleep(0.005)

    async def until_serving(self, **counts: int) -> None:
        """Until so many workers of each pool serve."""
        await self.until(lambda: self.serving() == Counter(counts))

    async def until_on(self, counts: dict[tuple[str, str], int]) -> None:
        """Until so many workers of each pool serve on each node, and none elsewhere."""
        await self.until(lambda: self.nodes() == Counter(counts))

    async def looked(self) -> None:
        """A few looks of the supervisor."""
        await asyncio.sleep(0.1)

    def lose_node(self, name: str) -> None:
        self.launcher.set_up(name, is_up=False)

    def bring_back(self, name: str) -> None:
        self.launcher.set_up(name, is_up=True)

    async def move(self, **counts: int) -> None:
        shapes = self.mover.capacity()
        await self.mover.move(
            {pool: msgspec.structs.replace(shapes[pool], replicas=n) for pool, n in counts.items()}
        )

    def serving(self) -> Counter[str]:
        return Counter(worker.handle.pool.name for worker in self.pool.ready())

    def nodes(self, state: WorkerState = WorkerState.READY) -> Counter[tuple[str, str]]:
        """How many workers of each pool serve on each node."""
        names = {node.number: node.name for node in self.launcher.cluster.nodes}
        return Counter(
            (worker.handle.pool.name, names[worker.handle.replica.node])
            for worker in self.pool
            if worker.state is state
        )

    def waiting(self) -> Counter[str]:
        return Counter(replica.pool for replica in self.fleet.lost_nodes)

    def faults(self) -> int:
        """Of all pools, as their breakers and the standbys' count them."""
        breakers = [*self.fleet._faults._breakers.values(), *self.fleet.standbys._breakers.values()]
        return sum(len(breaker._faults) + breaker._streak for breaker in breakers)

    def handle_of(self, pool: str, node: str) -> Handle:
        there = self.launcher.node(node)
        handles = [h for h in self.launcher.living() if there in self.launcher.lies_on(h)]
        return next(handle for handle in handles if handle.pool.name == pool)


def ones(**replicas: int) -> dict[str, Capacity]:
    """Pools of workers of one device."""
    return {pool: Capacity(replicas=count) for pool, count in replicas.items()}


def on(pool: str, node: int, *devices: int) -> list[RunningReplica]:
    """Replicas of one device each."""
    return [
        RunningReplica(pool=pool, gpu="cuda", node=node, base_gpu_id=device) for device in devices
    ]
