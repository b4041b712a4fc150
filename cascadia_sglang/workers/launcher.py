"""Starts and ends SGLang scheduler groups that share one tokenizer manager and detokenizer."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.platforms import current_platform
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.server_args import PortArgs, ServerArgs

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import JudgeSpec, PaceSpec, WorkerSpec
from cascadia_sglang.platform import HOST_MEMORY_SHARE
from cascadia_sglang.workers.arguments import PoolSpec, TierArguments
from cascadia_sglang.workers.entry import run_worker
from cascadia_sglang.workers.pool import Limits

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
        devices: accelerators it holds; empty on a CPU.
    """

    pool: PoolSpec
    result: Any
    processes: list[Any]
    input_address: str
    devices: range
    limits: Limits
    started: float

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def is_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

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
        input_tokens = self.result.scheduler_infos[0]["max_req_input_len"]
        self.limits = Limits(context_tokens=self.limits.context_tokens, input_tokens=input_tokens)

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
        worker_count: int,
        threads: int,
        start_group: StartGroup,
        server_ports: PortArgs,
    ) -> None:
        self._arguments = arguments
        self._judge = judge
        self._paces = paces
        self._threads = threads
        # Twice the planned number may run while capacity moves.
        on_host = current_platform.device_type == "cpu"
        self._memory_share = HOST_MEMORY_SHARE / (2 * worker_count) if on_host else None
        self._start_group = start_group
        self._server_ports = server_ports
        self._taken: set[int] = set()

    def start(self, pool: PoolSpec, worker_id: str) -> WorkerHandle:
        """Start one worker and return at once. Call it where SGLang's context is not in use
        elsewhere: on the event loop's thread, or before it runs.

        Raises:
            WorkerError: if no devices are free, or SGLang refuses the arguments.
        """
        started = time.monotonic()
        # Flags are read by a first record; the one that starts knows its devices.
        probe = self._arguments.for_worker(pool, 0, None)
        devices = self._free_devices(probe)
        server_args = self._arguments.for_worker(
            pool, devices.start if devices else 0, self._memory_share
        )
        server_args._cascadia = WorkerSpec(
            worker_id=worker_id,
            judge=self._judge.of_tiers(pool.tiers),
            threads=self._threads,
            environment=dict(os.environ),
            pace=self._paces.get(pool.index),
        )
        try:
            server_args.resolve_once()
            server_args.check_server_args()
            ports = PortArgs.init_new(server_args)
            ports.tokenizer_ipc_name = self._server_ports.tokenizer_ipc_name
            ports.detokenizer_ipc_name = self._server_ports.detokenizer_ipc_name
            if multiprocessing.get_start_method() == "forkserver" and torch.cuda.is_initialized():
                raise WorkerError("CUDA is initialised in the main process; forking is unsafe")
            with use_context(create_context(server_args, role="tokenizer")):
                context_tokens = ModelConfig.from_server_args(server_args).context_len
                result, processes = self._start_group(server_args, ports, run_worker)
        except (ValueError, OSError, RuntimeError, AssertionError) as error:
            first_line = str(error).strip().split("\n")[0]
            raise WorkerError(f"tier {pool.name} cannot be started: {first_line}") from error
        self._taken.update(devices)
        return WorkerHandle(
            pool=pool,
            result=result,
            processes=processes,
            input_address=ports.scheduler_input_ipc_name,
            devices=devices,
            limits=Limits(context_tokens=context_tokens, input_tokens=0),
            started=started,
        )

    def free(self, handle: WorkerHandle) -> None:
        """Give back the devices of a worker that has ended."""
        self._taken.difference_update(handle.devices)

    def _free_devices(self, server_args: ServerArgs) -> range:
        """The first free run of devices for one worker; SGLang numbers them base + rank * step."""
        if current_platform.device_type == "cpu":
            return range(0)
        needed = server_args.tp_size * server_args.pp_size
        step = server_args.gpu_id_step
        first = server_args.base_gpu_id
        for base in range(first, torch.cuda.device_count() - (needed - 1) * step):
            devices = range(base, base + needed * step, step)
            if self._taken.isdisjoint(devices):
                return devices
        raise WorkerError(f"no {needed} free devices for a worker of tp x pp = {needed}")
