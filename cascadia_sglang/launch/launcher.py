"""Starts and ends SGLang scheduler groups that share one tokenizer manager."""

import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import torch
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.managers.load_snapshot import create_load_snapshot_reader
from sglang.srt.platforms import current_platform
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.server_args import PortArgs, ServerArgs

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.types import RunningReplica
from cascadia_sglang.config.pool_specs import PoolSpec
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.device_memory import DeviceMemory, resolving
from cascadia_sglang.launch.fork_server import ensure_fork_server
from cascadia_sglang.launch.resolution import (
    nccl_variables,
    one_line_errors,
    page_tokens,
    publish_events,
    resolve,
)
from cascadia_sglang.launch.scheduler_group import SchedulerGroup
from cascadia_sglang.launch.worker_files import WorkerFiles
from cascadia_sglang.memory.host import HostMemory
from cascadia_sglang.messages import EventSource, JudgeSpec, PaceSpec, WorkerSpec
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.processes.liveness import Pulse
from cascadia_sglang.sglang_state import WORKER_SPEC
from cascadia_sglang.worker.main import run_worker

if TYPE_CHECKING:
    from sglang.srt.entrypoints.engine import SchedulerInitResult

_RANK_CORES = "SGLANG_CPU_OMP_THREADS_BIND"

# SGLang's `Engine._launch_scheduler_processes`, bound: (server_args, port_args, function).
StartGroup = Callable[
    [ServerArgs, PortArgs, Callable[..., None]], tuple["SchedulerInitResult", list[BaseProcess]]
]

# The address of a tier's detokenizer; None for the server's own.
DetokenizerOf = Callable[[int], str | None]
# Without shared memory between them, a scheduler sends its load to the server.
_SENDS_LOAD = {"SGLANG_LOAD_SNAPSHOT_USE_ZMQ": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSockets:
    """Where a worker on another machine than the server takes requests, and sends its load."""

    input_address: str
    load_address: str


@dataclass(frozen=True, slots=True)
class ResolvedWorker:
    """A worker to start, with its arguments as SGLang resolved them.

    Attributes:
        sockets: None where the server runs on this host.
    """

    pool: PoolSpec
    worker_id: str
    replica: RunningReplica
    server_args: ServerArgs
    sockets: RemoteSockets | None = None


class LocalLauncher:
    """Starts workers on this host; knows the server's shared sockets, and how they share devices.

    Implements `fleet.launcher_protocol.Launcher`.
    """

    def __init__(
        self,
        arguments: TierArguments,
        judge: JudgeSpec,
        paces: dict[int, PaceSpec],
        memory: HostMemory | None,
        devices: DeviceMemory,
        cluster: Cluster,
        threads: int,
        start_group: StartGroup,
        server_ports: PortArgs,
        detokenizer_of: DetokenizerOf,
        *,
        drafts: str,
    ) -> None:
        self._arguments = arguments
        self._detokenizer_of = detokenizer_of
        self._judge = judge
        self._paces = paces
        self._threads = threads
        self._memory = memory
        self._devices = devices
        self._start_group = start_group
        self._server_ports = server_ports
        self._drafts = drafts
        self._on_host = current_platform.device_type == "cpu"
        self._files = WorkerFiles()
        self._files.remove_at_the_end(server_ports)
        # Two resolutions at once would share what SGLang keeps of the devices.
        self._resolving = threading.Lock()
        self.cluster = cluster

    @property
    def replicas(self) -> tuple[RunningReplica, ...]:
        return self._devices.replicas

    @property
    def blocks(self) -> Blocks:
        return self._devices.blocks

    def resolved(self, pool: PoolSpec, number: int, replica: RunningReplica) -> ResolvedWorker:
        """A worker to start, and its arguments as SGLang resolves them. Any thread may call it.

        SGLang asks the devices for their memory, which can take seconds.

        Args:
            number: of the worker, unique in the server.
            replica: its shape and its devices, which nobody else holds.

        Raises:
            WorkerError: if SGLang refuses the arguments.
        """
        worker_id = f"{pool.name}-{number}"
        share = None if self._memory is None else self._memory.share_by_pool.get(pool.name)
        if self._memory is not None:
            self._memory.check_room(pool)
        server_args = self._arguments.for_worker(
            pool, worker_id, share, replica, on_host=self._on_host
        )
        with self._resolving, one_line_errors(pool.name), resolving(self._devices.share(pool)):
            resolve(server_args)
        return ResolvedWorker(pool, worker_id, replica, server_args)

    def start(self, resolved: ResolvedWorker) -> SchedulerGroup:
        """Start one worker and return at once. Call it where SGLang's context is not in use
        elsewhere: on the event loop's thread, or before it runs.

        Raises:
            WorkerError: if SGLang refuses the arguments.
        """
        started = time.monotonic()
        pool, worker_id, replica = resolved.pool, resolved.worker_id, resolved.replica
        server_args = resolved.server_args
        events, tokens = None, page_tokens(server_args)
        if self._arguments.publishes_events(pool, tokens):
            base = self._files.address(f"{worker_id}-events")
            events = EventSource(endpoint=base, replay_endpoint=f"{base}-replay")
            publish_events(server_args, events)
        nccl = nccl_variables(server_args, self._arguments.given_nccl)
        environment = {**os.environ, **nccl}
        if resolved.sockets is not None:
            environment |= _SENDS_LOAD
        if self._on_host and replica.replica_gpus > 1:
            environment.setdefault(_RANK_CORES, cores_of_ranks(replica.replica_gpus))
        spec = WorkerSpec(
            worker_id=worker_id,
            judge=self._judge.of_tiers(pool.tiers),
            threads=self._threads,
            environment=environment,
            pace=self._paces.get(pool.index),
            events=events,
            reads_drafts=self._drafts != "off",
            fits_window=self._drafts == "auto",
            host_free_bytes=None if self._memory is None else self._memory.free_of(pool),
            device_share=self._devices.share(pool),
            log=self._arguments.log_of(worker_id),
        )
        WORKER_SPEC.set(server_args, spec)
        pulse = Pulse(server_args.watchdog_timeout)
        if multiprocessing.get_start_method() == "forkserver":
            ensure_fork_server()
        with ExitStack() as on_error, one_line_errors(pool.name):
            on_error.callback(pulse.close)
            ports = PortArgs.init_new(server_args)
            sources = () if events is None else (events.endpoint, events.replay_endpoint)
            self._files.take(worker_id, ports, *sources)
            remove_files = functools.partial(self._files.remove, ports.scheduler_input_ipc_name)
            on_error.callback(remove_files)
            if resolved.sockets is not None:
                ports.scheduler_input_ipc_name = resolved.sockets.input_address
                ports.load_collector_ipc_name = resolved.sockets.load_address
            ports.tokenizer_ipc_name = self._server_ports.tokenizer_ipc_name
            shared = self._server_ports.detokenizer_ipc_name
            ports.detokenizer_ipc_name = self._detokenizer_of(pool.tiers[0]) or shared
            if multiprocessing.get_start_method() == "forkserver" and torch.cuda.is_initialized():
                raise WorkerError("CUDA is initialised in the main process; forking is unsafe")
            with use_context(create_context(server_args, role="tokenizer")):
                model = ModelConfig.from_server_args(server_args)
                reader = create_load_snapshot_reader(ports, caller="TokenizerManager")
                on_error.callback(reader.close)
                result, processes = self._start_group(
                    server_args, ports, functools.partial(run_worker, pulse.beats_in)
                )
            on_error.pop_all()
        pulse.hand_over()
        return SchedulerGroup(
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
            reader=reader,
            remove_files=remove_files,
            events=events,
            page_tokens=tokens,
            devices=() if self._on_host else _numbers(server_args),
            device_share=self._devices.share(pool),
        )

    def end(self) -> None:
        """Remove the files of the server and of all workers, once they have ended."""
        self._files.remove_all()


def _numbers(server_args: ServerArgs) -> tuple[int, ...]:
    """Of a worker's accelerators, in the order of its ranks."""
    ranks = server_args.tp_size * server_args.pp_size
    first, step = server_args.base_gpu_id, server_args.gpu_id_step
    return tuple(range(first, first + ranks * step, step))


def cores_of_ranks(ranks: int) -> str:
    """A core for every rank of a worker on a host, in SGLang's notation; shared where too few.

    Without it SGLang wants a memory node of its own for each.
    """
    cores = sorted(os.sched_getaffinity(0))
    return "|".join(str(cores[rank % len(cores)]) for rank in range(ranks))
