"""Shifts gears while requests run: between the plan's thresholds and lower ones."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from cascadia_sglang.config.cascade_file import with_thresholds
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.controller.gears import GearState, gear_table, pressure_of, shifted

logger = logging.getLogger(__name__)

LOOK_S = 0.2


class Router(Protocol):
    """Whoever accepts answers by thresholds, and says which gear they are of."""

    def set_thresholds(self, thresholds: list[float], gear: int) -> None: ...


class Gearbox:
    """Owns the plan's thresholds; the router has those of the gear in force.

    Args:
        attempts: of every worker that accepts requests now, by tier.
    """

    def __init__(
        self, config: CascadeConfig, router: Router, attempts: Callable[[], Sequence[Sequence[int]]]
    ) -> None:
        self.lever = GearState()
        self._config = config
        self._gears = config.routing.gears
        self._router = router
        self._attempts = attempts
        self._table = self._table_of(config.routing.thresholds)

    @property
    def thresholds(self) -> list[float]:
        """The plan's: those of gear 0."""
        return list(self._table[0])

    def set_thresholds(self, thresholds: list[float]) -> None:
        """Take a plan's thresholds; the gear stays.

        Raises:
            ConfigError: if they do not fit the tiers, or the router takes none.
        """
        with_thresholds(self._config, thresholds)
        table = self._table_of(thresholds)
        self._router.set_thresholds(list(table[self.lever.gear]), self.lever.gear)
        self._table = table

    async def run(self) -> None:
        """Look at the queues five times a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.check()

    def check(self) -> None:
        """Shift once, where the queues say so."""
        before = self.lever.gear
        pressure = pressure_of(self._attempts(), self._gears.queue)
        self.lever = shifted(self.lever, pressure, self._gears.steps)
        if self.lever.gear != before:
            logger.info("gear %d, pressure %.2f", self.lever.gear, pressure)
            self._apply()

    def _apply(self) -> None:
        gear = self.lever.gear
        self._router.set_thresholds(list(self._table[gear]), gear)

    def _table_of(self, thresholds: Sequence[float]) -> list[tuple[float, ...]]:
        return gear_table(thresholds, self._gears.floor, self._gears.steps)
