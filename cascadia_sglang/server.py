"""The cascade server: what SGLang's main process becomes with `--plugin cascadia`.

Composition only: reads the cascade, checks everything, puts the patches in force, and holds the
pieces that the patches' hooks call.
"""

import argparse
import asyncio
import copy
import gc
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from sglang.srt.constants import HEALTH_CHECK_RID_PREFIX
from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.cascade_file import cascade_from_flags, load_cascade
from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import ConfigError, RequestError, WorkerError
from cascadia_sglang.http.trace import SCOPE_KEY, sglang_error
from cascadia_sglang.judge.calibration import check_calibrations
from cascadia_sglang.messages import AttemptOrder, PaceSpec
from cascadia_sglang.router.active import Outcome
from cascadia_sglang.router.attempt import attempt_rid
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.workers.arguments import (
    PoolSpec,
    TierArguments,
    check_arguments,
    pool_specs,
)
from cascadia_sglang.workers.engine import TokenizerEngine
from cascadia_sglang.workers.fork_server import start_fork_server, threads_per_worker
from cascadia_sglang.workers.pace import pace_specs
from cascadia_sglang.workers.pool import Worker, WorkerPool, WorkerState

logger = logging.getLogger(__name__)


def prepare_server(
    namespace: argparse.Namespace, construct: Callable[[argparse.Namespace], Any]
) -> Any:
    """Turn parsed flags into the main process's `ServerArgs`, with every patch in force.

    Raises:
        CascadiaError: one line; nothing has been started that outlives this process.
    """
    config = _read_config(namespace)
    check_arguments(namespace, config)
    calibrations = {
        index: tier.calibration
        for index, tier in enumerate(config.tiers)
        if tier.calibration is not None
    }
    check_calibrations(calibrations)
    paces = pace_specs(config)

    from sglang.srt.platforms import current_platform

    from cascadia_patches.registry import (
        ARGUMENT_PATCHES,
        SERVER_PATCHES,
        apply_patches,
        verify_patches,
    )

    is_forking = current_platform.device_type == "cpu"
    if is_forking:
        # It imports SGLang while this process does.
        start_fork_server(worker_threads(config))
    arguments = TierArguments(namespace, config, construct)
    server_args = arguments.for_server()
    server = CascadeServer(config, arguments, calibrations, paces, is_forking)
    apply_patches(SERVER_PATCHES, server)
    verify_patches(ARGUMENT_PATCHES)
    return server_args


def _read_config(namespace: argparse.Namespace) -> CascadeConfig:
    path, tiers = namespace.cascade_config, namespace.cascade_tiers
    if (path is None) == (tiers is None):
        raise ConfigError("--plugin cascadia needs one of --cascade-config and --cascade-tiers")
    if path is not None:
        if namespace.cascade_thresholds is not None:
            raise ConfigError("--cascade-thresholds goes with --cascade-tiers")
        return load_cascade(Path(path))
    return cascade_from_flags(tiers, namespace.cascade_thresholds)


def worker_threads(config: CascadeConfig) -> int:
    """CPU threads of each worker's tensor operations."""
    return threads_per_worker(sum(spec.replicas for spec in pool_specs(config)))


class CascadeServer:
    """Holds the pool, the engine and the router; starts workers."""

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        calibrations: dict[int, str],
        paces: dict[int, PaceSpec],
        is_forking: bool,
    ) -> None:
        self.config = config
        self.is_forking = is_forking
        self.pool = WorkerPool()
        self.engine = TokenizerEngine(config.tiers, self.pool)
        self.router = CascadeRouter(config, self.engine)
        self._arguments = arguments
        self._calibrations = calibrations
        self._paces = paces
        self._specs = pool_specs(config)
        self._numbers = itertools.count()
        self._launcher: Any = None
        self._manager: Any = None
        self._supervisor: Any = None
        self._starting: Any = None

    # Start

    def launch(self, start_group: Any, server_ports: Any) -> list[Worker]:
        """Start every tier's workers, without waiting.

        Raises:
            CascadiaError: if the tiers' tokenizers differ, or a worker cannot be started.
        """
        from cascadia_sglang.workers.launcher import Launcher
        from cascadia_sglang.workers.tokenizers import check_same_tokenizer

        check_same_tokenizer([(tier.name, tier.model_path) for tier in self.config.tiers])
        self._launcher = Launcher(
            self._arguments,
            self._calibrations,
            self.config.judge.record,
            self._paces,
            sum(spec.replicas for spec in self._specs),
            worker_threads(self.config),
            start_group,
            server_ports,
        )
        return [self._start(spec) for spec in self._specs for _ in range(spec.replicas)]

    def admit_when_ready(self, workers: Iterable[Worker]) -> None:
        """Block until each of these workers is ready, and let it serve."""
        for worker in workers:
            worker.handle.wait_for_ready()
            self.pool.admit(worker, worker.handle.limits)

    async def add_worker(self, tier_name: str) -> Worker:
        """Start one more worker for a tier of the running server, and admit it once ready.

        Raises:
            WorkerError: if it did not start.
        """
        index = self.config.tier_index(tier_name)
        spec = next(spec for spec in self._specs if index in spec.tiers)
        worker = self._start(spec)
        self._open_socket(worker)
        try:
            await asyncio.to_thread(self.admit_when_ready, [worker])
        except WorkerError:
            self.lose(worker)
            raise
        self._supervisor.watch(worker)
        self._tell_control_plane()
        return worker

    def lose(self, worker: Worker) -> None:
        """Clean up after a worker that has ended: its attempts fail over, its devices are free."""
        self.pool.remove(worker)
        worker.handle.kill()
        self._launcher.free(worker.handle)
        self.engine.fail_attempts(worker)
        if worker.socket is not None:
            worker.socket.close(linger=0)
        self._tell_control_plane()

    def _start(self, spec: PoolSpec) -> Worker:
        worker_id = f"{spec.name}-{next(self._numbers)}"
        handle = self._launcher.start(spec, worker_id)
        worker = Worker(worker_id=worker_id, tiers=spec.tiers, handle=handle)
        self.pool.add(worker)
        return worker

    # Messages

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager and open a socket to every worker started so far."""
        from sglang.srt.managers.tokenizer_manager import ServerStatus

        self._manager = manager
        self._starting = ServerStatus.Starting
        for worker in self.pool:
            self._open_socket(worker)

    def _open_socket(self, worker: Worker) -> None:
        import zmq
        from sglang.srt.utils.network import get_zmq_socket

        worker.socket = get_zmq_socket(
            self._manager.send_to_scheduler.context, zmq.PUSH, worker.handle.input_address, True
        )

    def _tell_control_plane(self) -> None:
        """SGLang's control calls wait for one reply a worker."""
        self._manager.update_control_communicator_fan_out(len(self.pool.ready()))

    def sockets_for(self, message: Any) -> list[Any]:
        """Where a message to the scheduler goes: an attempt's to its worker, control to all.

        Raises:
            RequestError: if a request outside the cascade finds no worker.
        """
        worker = self.pool.worker_of(getattr(message, "rid", None))
        if worker is not None:
            return [worker.socket] if worker.state is not WorkerState.DEAD else []
        if type(message).__name__.startswith(("Tokenized", "BatchTokenized")):
            first = next(iter(self.pool.ready()), None)
            if first is None:
                raise RequestError(503, "no worker accepts requests")
            return [first.socket]
        return [worker.socket for worker in self.pool.ready()]

    # Requests

    async def answer(self, generate: Any, request: Any, http_request: Any) -> AsyncIterator[Any]:
        """What SGLang's `generate_request` becomes.

        Embeddings, health checks and whatever else is no question to the cascade go to one worker.
        """
        self._manager.auto_create_handle_loop()
        self.engine.connect(self._manager, generate)
        rid = getattr(request, "rid", None)
        is_health_check = isinstance(rid, str) and rid.startswith(HEALTH_CHECK_RID_PREFIX)
        if not isinstance(request, GenerateReqInput) or is_health_check:
            try:
                async for output in generate(self._manager, request, http_request):
                    yield output
            except RequestError as error:
                raise sglang_error(error, request, http_request) from None
            return
        if self._manager.server_status is self._starting:
            yield await self._warm_up(request)
            return
        trace = http_request.scope.get(SCOPE_KEY) if http_request is not None else None
        controls = trace.controls if trace is not None else Controls()
        outcome = trace.outcome if trace is not None else Outcome()
        try:
            async for output in self.router.answer(request, http_request, controls, outcome):
                yield output
        except RequestError as error:
            raise sglang_error(error, request, http_request) from None

    async def _warm_up(self, request: Any) -> Any:
        """SGLang's first request: every worker runs it, so that none is cold when it serves."""
        samples = self.engine.split(copy.copy(request))[0]
        await self.engine.tokenise(samples)
        base = self.engine.new_rid_base()
        output = None
        for number, worker in enumerate(self.pool.ready()):
            order = AttemptOrder(
                tier_index=worker.tiers[0],
                threshold=0.0,
                early_abort=None,
                earlier_scores=(None,) * worker.tiers[0],
            )
            output, _ = await self.engine.run_on(
                worker, samples[0], attempt_rid(base, number), order
            )
        return output

    def abort(self, rid: str, is_all: bool) -> list[str] | None:
        """Rids that SGLang is to abort in place of the caller's; None leaves the call as it is."""
        if is_all:
            self.router.abort_all()
            return None
        rids = self.router.abort(rid)
        return None if rids is None else sorted(rids)

    async def supervise(self, manager: Any) -> None:
        """Watch the workers and handle the stop signals, for the life of the event loop."""
        from cascadia_sglang.workers.supervisor import Supervisor

        # What the start has made is there for good: spare the serving process walks over it.
        gc.collect()
        gc.freeze()
        self._tell_control_plane()
        self._supervisor = Supervisor(self.pool, self.router, self.lose)
        sweep = asyncio.create_task(self.router.watch_disconnects())
        try:
            await self._supervisor.run(manager)
        finally:
            sweep.cancel()
