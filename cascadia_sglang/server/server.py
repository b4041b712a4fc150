"""The cascade server: SGLang's main process under `--plugin cascadia`.

Composition only: holds the pieces that the patches' hooks call.
"""

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any

from cascadia_sglang.config.pool_specs import pool_specs
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.controller.build import configured_controller, configured_monitor
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.mover import Mover
from cascadia_sglang.controller.recorder import TrafficRecorder
from cascadia_sglang.engine.dispatch import Dispatch
from cascadia_sglang.engine.likelihood import LikelihoodReader
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.errors import CascadiaError
from cascadia_sglang.fleet.fleet import Fleet
from cascadia_sglang.http.generate_requests import Door
from cascadia_sglang.http.voices.chat_voices import ChatVoices
from cascadia_sglang.http.voices.responses_voices import ResponsesVoices
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.launch.start_phases import PHASES
from cascadia_sglang.messages import PaceSpec, WorkerLog
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.page.discarded import DiscardedAnswers
from cascadia_sglang.page.sampler import Sampler
from cascadia_sglang.page.traffic_log import TrafficLog
from cascadia_sglang.pool.load_snapshots import published_load
from cascadia_sglang.pool.pool import Worker, WorkerPool, WritablePool
from cascadia_sglang.processes.logs import START
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.feedback.scores import TierScoring
from cascadia_sglang.router.services import build_services
from cascadia_sglang.server.ready_block import ready_block
from cascadia_sglang.server.self_calibration_setup import configured_self_calibration
from cascadia_sglang.server.summary import server_summary

if TYPE_CHECKING:
    from cascadia_sglang.cluster.remote_nodes import RemoteNodes

logger = logging.getLogger(__name__)

_current: "CascadeServer | None" = None


def current_server() -> "CascadeServer":
    """The cascade server of this process, for Python code that runs beside it.

    `config` holds the settings of the cascade file. `event_loop` is the loop that runs the server's
    coroutines; None until the server serves. Other attributes may change with a release.

    Raises:
        CascadiaError: before a server is created.
    """
    if _current is None:
        raise CascadiaError("no cascade server has been created in this process")
    return _current


current = current_server  # its former name


def make_current(server: "CascadeServer") -> None:
    """Let `current_server` return this server."""
    global _current
    _current = server


class CascadeServer:
    """Holds the fleet of workers, the detokenizers, the router and the door to it."""

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        calibrations: dict[int, Calibration],
        paces: dict[int, PaceSpec],
        is_forking: bool,
        shows_old_metric_names: bool = False,
        voices: Voices | None = None,
        nodes: "RemoteNodes | None" = None,
    ) -> None:
        """`voices` are those of the tiers; None where all have one.

        `nodes` are the machines besides this host that take workers; None where there are none.
        """
        self.config = config
        self.shows_old_metric_names = shows_old_metric_names
        self.is_forking = is_forking
        pool = WritablePool()
        self.pool: WorkerPool = pool
        self.pools = [spec.name for spec in pool_specs(config)]
        self.metrics = Metrics([tier.name for tier in config.tiers], self.pools, PHASES)
        self._arguments = arguments
        self._manager: Any = None
        scores = TierScoring(config, calibrations)
        self.fleet = Fleet(
            config, arguments, paces, pool, self.metrics, scores.judges_constrained, voices, nodes
        )
        self.control = self.fleet.control
        self.dispatch = Dispatch(self.pool, self.control, self.fleet.sessions)
        self.detokenizers = self.fleet.detokenizers
        self.voices = self.fleet.views.voices
        self.chat_voices = ChatVoices(self.fleet.views)
        self.responses_voices = ResponsesVoices(self.fleet.views)
        last_tier = len(config.tiers) - 1
        monitor = configured_monitor(config)
        names = [tier.name for tier in config.tiers]
        self.traffic_log = TrafficLog(names)
        self.discarded = DiscardedAnswers(names)
        services = build_services(
            config,
            self.fleet.engine,
            scores,
            metrics=self.metrics,
            prefiller=self.fleet.prefiller,
            is_last_tier_idle=lambda: 0 in self.pool.attempts(last_tier),
            entry_model=configured_entry(config),
            calibrations=calibrations,
            others=[
                self.traffic_log,
                self.discarded,
                *([] if monitor is None else [TrafficRecorder(monitor)]),
            ],
        )
        self.router = CascadeRouter(services)
        self.gearbox = Gearbox(config, self.router, self._attempts_by_tier)
        self.mover = Mover(self.fleet, self.gearbox, config, self.metrics)
        self.controller = configured_controller(config, self.mover, monitor, self.metrics)
        self.self_calibration = configured_self_calibration(
            config,
            services,
            calibrations,
            LikelihoodReader(self.pool, self.fleet.engine, last_tier),
            self.metrics,
        )
        self.sampler = Sampler(
            self.traffic_log,
            self.pool,
            self.router,
            self.fleet,
            self.mover,
            self.controller,
            published_load,
        )
        self.door = Door(self.router, self.fleet.engine, self.pool, self.fleet.sessions)

    def launch(self, start_group: Any, server_ports: Any) -> list[Worker]:
        """Start every tier's workers, without waiting.

        Raises:
            CascadiaError: if a worker cannot be started.
        """
        models = (f"{spec.name} ({spec.model_path})" for spec in pool_specs(self.config))
        logger.info("loading %s", ", ".join(models))
        return self.fleet.launch(start_group, server_ports)

    def log_of(self, name: str) -> WorkerLog:
        """Where the lines of a detokenizer go."""
        return self._arguments.log_of(name)

    def arguments_of(self, voice: Voice) -> Any:
        """The resolved arguments of a voice other than the first."""
        return self.fleet.views.arguments_of(voice)

    def announce(self, server_args: Any) -> None:
        """Say what serves, and where, once the server is warm."""
        START.end()
        if self._manager is None or self._manager.server_status.value != "Up":
            return
        summary = server_summary(
            self.config,
            self._arguments,
            list(self.pool.ready()),
            self.router.services.scores,
            server_args.url(),
            has_chat=getattr(self._manager.tokenizer, "chat_template", None) is not None,
            shows_metrics=self._manager.enable_metrics,
            needs_key=server_args.api_key is not None,
        )
        logger.info("%s", ready_block(summary))

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager, once its own sockets are open."""
        self._manager = manager
        self.door.connect(manager)
        self.fleet.connect(manager)

    def flag_of(self, tier_index: int, field: str) -> Any:
        """The value of an SGLang flag that a tier's workers are started with."""
        spec = next(
            candidate for candidate in pool_specs(self.config) if tier_index in candidate.tiers
        )
        return self._arguments.flag(spec, field)

    def open_metrics(self) -> None:
        """Write metrics from now on, and count the workers that are ready already."""
        self.metrics.open()
        self.fleet.count_earlier_starts()

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that serves requests; None until it runs. Its coroutines run there alone."""
        loop: asyncio.AbstractEventLoop | None = getattr(self._manager, "event_loop", None)
        return loop

    def _attempts_by_tier(self) -> list[list[int]]:
        """Attempts of every worker that accepts requests now, by tier."""
        return [self.pool.attempts(tier) for tier in range(len(self.config.tiers))]

    async def supervise(self, manager: Any) -> None:
        """Watch the workers and handle the stop signals, for the life of the event loop."""
        from cascadia_sglang.server.supervisor import Supervisor

        # What the start has made is there for good: spare the serving process walks over it.
        gc.collect()
        gc.freeze()
        self.fleet.events.start()
        self.fleet.standbys.refill()
        supervisor = Supervisor(self.fleet, self.detokenizers, self.router)
        tasks = [
            asyncio.create_task(self.router.watch_disconnects()),
            asyncio.create_task(self.sampler.run()),
        ]
        if self.config.routing.gears.enabled:
            tasks.append(asyncio.create_task(self.gearbox.run()))
        if self.controller is not None:
            tasks.append(asyncio.create_task(self.controller.run()))
        if self.self_calibration is not None:
            tasks.append(asyncio.create_task(self.self_calibration.run()))
        try:
            await supervisor.run(manager)
        finally:
            for task in tasks:
                task.cancel()
            self.fleet.events.stop()
            if self.self_calibration is not None:
                self.self_calibration.close()
