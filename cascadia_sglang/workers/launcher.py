"""Starts and ends SGLang scheduler groups that share one tokenizer manager and detokenizer."""

import dataclasses
import functools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.managers.load_snapshot import create_load_snapshot_reader
from sglang.srt.platforms import current_platform
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.server_args import PortArgs, ServerArgs

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import DeviceShare, EventSource, JudgeSpec, PaceSpec, WorkerSpec
from cascadia_sglang.planner.problem import GpuType, RunningReplica
from cascadia_sglang.pool_specs import PoolSpec, pool_specs
from cascadia_sglang.workers.arguments import TierArguments, worker_threads
from cascadia_sglang.workers.device_memory import (
    DeviceMemory,
    device_memory,
    host_devices,
    resolving,
)
from cascadia_sglang.workers.ends import End, end_of
from cascadia_sglang.workers.entry import run_worker
from cascadia_sglang.workers.fork_server import ensure_fork_server
from cascadia_sglang.workers.heart import Pulse
from cascadia_sglang.workers.host_memory import HostMemory, host_memory
from cascadia_sglang.workers.pool import Limits
from cascadia_sglang.workers.start_phases import start_phases

# More workers than a host serves.
HOST_DEVICES = 128
_RANK_CORES = "SGLANG_CPU_OMP_THREADS_BIND"

# SGLang's `Engine._launch_scheduler_processes`, bound: (server_args, port_args, function).
StartGroup = Callable[[ServerArgs, PortArgs, Callable[..., None]], tuple[Any, list[Any]]]


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
        except RuntimeError as error:
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


class Launcher:
    """Starts workers; knows the server's shared sockets and which devices are taken."""

    def __init__(
        self,
        arguments: TierArguments,
        judge: JudgeSpec,
        paces: dict[int, PaceSpec],
        memory: HostMemory | None,
        devices: DeviceMemory,
        node: GpuType,
        threads: int,
        start_group: StartGroup,
        server_ports: PortArgs,
        *,
        reads_drafts: bool,
    ) -> None:
        self._arguments = arguments
        self._judge = judge
        self._paces = paces
        self._threads = threads
        self._memory = memory
        self.devices = devices
        self._start_group = start_group
        self._server_ports = server_ports
        self._reads_drafts = reads_drafts
        self._on_host = current_platform.device_type == "cpu"
        # Readable by this user alone: events hold the prompts' tokens.
        self._sockets = tempfile.TemporaryDirectory(prefix="cascadia-events-")
        self.node = node

    def start(self, pool: PoolSpec, worker_id: str, replica: RunningReplica) -> WorkerHandle:
        """Start one worker and return at once. Call it where SGLang's context is not in use
        elsewhere: on the event loop's thread, or before it runs.

        Args:
            replica: its shape and its devices, which nobody else holds.

        Raises:
            WorkerError: if SGLang refuses the arguments.
        """
        started = time.monotonic()
        share = free_bytes = None
        if self._memory is not None and pool.name in self._memory.share_by_pool:
            self._memory.check_room(pool)
            share, free_bytes = self._memory.share_by_pool[pool.name], self._memory.free_bytes
        device_share = self.devices.share(pool)
        events = None
        if self._arguments.publishes_events(pool):
            base = f"ipc://{self._sockets.name}/{worker_id}"
            events = EventSource(endpoint=base, replay_endpoint=f"{base}-replay")
        server_args = self._arguments.for_worker(
            pool, worker_id, share, replica, on_host=self._on_host, events=events
        )
        environment = dict(os.environ)
        if self._on_host and replica.replica_gpus > 1:
            environment.setdefault(_RANK_CORES, cores_of_ranks(replica.replica_gpus))
        server_args._cascadia = WorkerSpec(
            worker_id=worker_id,
            judge=self._judge.of_tiers(pool.tiers),
            threads=self._threads,
            environment=environment,
            pace=self._paces.get(pool.index),
            events=events,
            reads_drafts=self._reads_drafts and max(pool.tiers) > 0,
            host_free_bytes=free_bytes,
            device_share=device_share,
        )
        pulse = Pulse(server_args.watchdog_timeout)
        if multiprocessing.get_start_method() == "forkserver":
            ensure_fork_server()
        try:
            with resolving(device_share):
                server_args.resolve_once()
            server_args.check_server_args()
            ports = PortArgs.init_new(server_args)
            ports.tokenizer_ipc_name = self._server_ports.tokenizer_ipc_name
            ports.detokenizer_ipc_name = self._server_ports.detokenizer_ipc_name
            if multiprocessing.get_start_method() == "forkserver" and torch.cuda.is_initialized():
                raise WorkerError("CUDA is initialised in the main process; forking is unsafe")
            with use_context(create_context(server_args, role="tokenizer")):
                model = ModelConfig.from_server_args(server_args)
                result, processes = self._start_group(
                    server_args, ports, functools.partial(run_worker, pulse.beats_in)
                )
        except (ValueError, OSError, RuntimeError, AssertionError) as error:
            first_line = str(error).strip().split("\n")[0]
            pulse.close()
            raise WorkerError(f"tier {pool.name} cannot be started: {first_line}") from error
        pulse.hand_over()
        return WorkerHandle(
            pool=pool,
            result=result,
            processes=processes,
            input_address=ports.scheduler_input_ipc_name,
            replica=replica,
            limits=Limits(
                context_tokens=model.context_len, input_tokens=0, vocabulary=model.vocab_size
            ),
            started=started,
            pulse=pulse,
            loads=create_load_snapshot_reader(ports, caller="TokenizerManager"),
            events=events,
            page_tokens=server_args.page_size or 1,
            devices=() if self._on_host else self._numbers(server_args),
            device_share=device_share,
        )

    def _numbers(self, server_args: ServerArgs) -> tuple[int, ...]:
        ranks = server_args.tp_size * server_args.pp_size
        first, step = server_args.base_gpu_id, server_args.gpu_id_step
        return tuple(range(first, first + ranks * step, step))

    def free(self, handle: WorkerHandle) -> None:
        """Close what was open towards a worker that has ended."""
        handle.pulse.close()
        handle.loads.close()


def launcher_of(
    config: CascadeConfig,
    arguments: TierArguments,
    paces: dict[int, PaceSpec],
    start_group: StartGroup,
    server_ports: PortArgs,
) -> Launcher:
    """The launcher of a cascade's workers.

    Raises:
        ConfigError: if the models do not fit the memory, or the workers find no devices; names the
            tier, what it needs and what there is.
    """
    on_host = current_platform.device_type == "cpu"
    pools, node = pool_specs(config), _this_node(arguments)
    places = host_devices if on_host else device_memory
    judge = JudgeSpec(
        calibrations=config.calibrations(),
        record=config.judge.record,
        counts_reasoning=config.judge.scope == "all",
        draft_calibrations=config.draft_calibrations(),
    )
    return Launcher(
        arguments,
        judge,
        paces,
        host_memory(arguments, pools) if on_host else None,
        places(arguments, pools, node),
        node,
        worker_threads(config),
        start_group,
        server_ports,
        reads_drafts=config.routing.verify.enabled is not False,
    )


def cores_of_ranks(ranks: int) -> str:
    """A core for every rank of a worker on a host, in SGLang's notation; shared where too few.

    Without it SGLang wants a memory node of its own for each.
    """
    cores = sorted(os.sched_getaffinity(0))
    return "|".join(str(cores[rank % len(cores)]) for rank in range(ranks))


def _this_node(arguments: TierArguments) -> GpuType:
    """Devices for workers: the accelerators from the base id on, or numbers on a host."""
    kind = current_platform.device_type
    if kind == "cpu":
        return GpuType(gpu=kind, nodes=1, gpus_per_node=HOST_DEVICES)
    first, step = arguments.first_device, arguments.device_step
    count = len(range(first, torch.cuda.device_count(), step))
    return GpuType(gpu=kind, nodes=1, gpus_per_node=count)
