"""The cascade server: what SGLang's main process becomes with `--plugin cascadia`.

Composition only: holds the pieces that the patches' hooks call.
"""

import asyncio
import gc
import logging
from typing import Any

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.entry.model import configured_entry
from cascadia_sglang.http.door import Door
from cascadia_sglang.judge.agreement import AgreementWatch
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.judge.drift import ScoreWatch
from cascadia_sglang.messages import PaceSpec
from cascadia_sglang.metrics import Metrics
from cascadia_sglang.pool_specs import pool_specs
from cascadia_sglang.prefix.warming import Warmer
from cascadia_sglang.reallocation.configured import configured_controller
from cascadia_sglang.reallocation.gearbox import Gearbox
from cascadia_sglang.reallocation.listen import Listener
from cascadia_sglang.reallocation.mover import Mover
from cascadia_sglang.router.cascade import CascadeRouter
from cascadia_sglang.router.pricing import EntryPrices
from cascadia_sglang.router.scores import TierScores
from cascadia_sglang.verify.worth import DraftWorth
from cascadia_sglang.workers.arguments import TierArguments
from cascadia_sglang.workers.detokenizer import Detokenizer
from cascadia_sglang.workers.dispatch import Dispatch
from cascadia_sglang.workers.fleet import Fleet
from cascadia_sglang.workers.pool import Worker, WorkerPool
from cascadia_sglang.workers.start_phases import PHASES

logger = logging.getLogger(__name__)


class CascadeServer:
    """Holds the fleet of workers, the detokenizer, the router and the door to it."""

    def __init__(
        self,
        config: CascadeConfig,
        arguments: TierArguments,
        calibrations: dict[int, Calibration],
        paces: dict[int, PaceSpec],
        is_forking: bool,
        shows_old_metric_names: bool = False,
    ) -> None:
        self.config = config
        self.shows_old_metric_names = shows_old_metric_names
        self.is_forking = is_forking
        self.pool = WorkerPool()
        scores = TierScores(config, calibrations)
        self._arguments = arguments
        self.fleet = Fleet(config, arguments, paces, self.pool, scores.judges_constrained)
        self.control = self.fleet.control
        self.dispatch = Dispatch(self.pool, self.control, self.fleet.sessions)
        self.detokenizer = Detokenizer()
        watches = {tier: ScoreWatch(calibration) for tier, calibration in calibrations.items()}
        self.router = CascadeRouter(config, self.fleet.engine, watches, scores)
        self.router.entry = configured_entry(config)
        tiers = len(config.tiers)
        if config.routing.entry == "priced":
            self.router.prices = EntryPrices(tiers, self.router.entry)
        if config.prefix.warm != "off":
            prefix = config.prefix
            self.router.warmer = Warmer(self.fleet.prefiller, prefix.warm, prefix.warm_chunk, tiers)
        if config.routing.verify.enabled is not False:
            self.router.worth = DraftWorth(config.routing.verify, tiers)
        self.router.shadow.watches = {
            tier: AgreementWatch(one.agreement) for tier, one in calibrations.items()
        }
        self.gearbox = Gearbox(
            config, self.router, lambda: [self.pool.attempts(tier) for tier in range(tiers)]
        )
        self.mover = Mover(self.fleet, self.gearbox, config)
        self.controller = configured_controller(config, self.mover)
        if self.controller is not None:
            self.router.listener = Listener(self.controller.monitor)
        self.door = Door(self.router, self.fleet.engine, self.pool, self.fleet.sessions)

    def launch(self, start_group: Any, server_ports: Any) -> list[Worker]:
        """Start every tier's workers, without waiting.

        Raises:
            CascadiaError: if the tiers' sampling parameters are not allowed, or a worker cannot be
                started.
        """
        from cascadia_sglang.workers.request_guard import check_tier_sampling

        for tier in self.config.tiers:
            if tier.is_speculative:
                # Only the last tier's answers, or with on_error: accept, go out without a score.
                logger.warning(
                    "tier %s: judge off, it decodes speculatively; its answers are accepted "
                    "without a score",
                    tier.name,
                )
        check_tier_sampling(self.config.tiers)
        return self.fleet.launch(start_group, server_ports)

    def connect(self, manager: Any) -> None:
        """Take the tokenizer manager, once its own sockets are open."""
        self.door.connect(manager)
        self.fleet.connect(manager)

    def flag_of(self, tier_index: int, field: str) -> Any:
        """The value of an SGLang flag that a tier's workers are started with."""
        spec = next(one for one in pool_specs(self.config) if tier_index in one.tiers)
        return self._arguments.flag(spec, field)

    @property
    def pools(self) -> list[str]:
        """The names of the pools of workers, in tier order."""
        return [spec.name for spec in pool_specs(self.config)]

    def measure(self) -> Metrics:
        """Write metrics from now on, to what is returned."""
        metrics = Metrics([tier.name for tier in self.config.tiers], self.pools, PHASES)
        self.router.metrics = metrics
        self.router.shadow.metrics = metrics
        self.router.suspects.metrics = metrics
        self.fleet.measure(metrics)
        self.mover.metrics = metrics
        if self.router.warmer is not None:
            self.router.warmer.metrics = metrics
        if self.controller is not None:
            self.controller.metrics = metrics
        return metrics

    async def supervise(self, manager: Any) -> None:
        """Watch the workers and handle the stop signals, for the life of the event loop."""
        from cascadia_sglang.workers.supervisor import Supervisor

        # What the start has made is there for good: spare the serving process walks over it.
        gc.collect()
        gc.freeze()
        self.fleet.events.start()
        self.fleet.standbys.refill()
        supervisor = Supervisor(self.fleet, self.detokenizer, self.router)
        tasks = [asyncio.create_task(self.router.watch_disconnects())]
        if self.config.routing.gears.enabled:
            tasks.append(asyncio.create_task(self.gearbox.run()))
        if self.controller is not None:
            tasks.append(asyncio.create_task(self.controller.run()))
        try:
            await supervisor.run(manager)
        finally:
            for task in tasks:
                task.cancel()
            self.fleet.events.stop()
