"""A share of the accepted answers is given by the last tier too, to see whether they agree.

Off the request's path: the answer has been decided by then and is not waited with. What a shadow
runs into stays here, at most a few run at a time, and those beyond are left out.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from cascadia_sglang.judge.agreement import AgreementWatch, same_answer
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.metrics import Metrics
from cascadia_sglang.router.attempt import Attempt, Engine, attempt_rid
from cascadia_sglang.router.controls import Controls

logger = logging.getLogger(__name__)

MOST_AT_A_TIME = 2
DEADLINE_S = 60.0

Watches = Mapping[int, AgreementWatch]


class Shadow:
    """Owns the shadow runs. `watches` hear of the tier indices that they belong to."""

    def __init__(
        self,
        engine: Engine,
        last_tier: int,
        rate: float,
        watches: Watches = MappingProxyType({}),
    ) -> None:
        self.watches = watches
        self.counts: Counter[tuple[int, str]] = Counter()  # by tier index and outcome
        self.metrics: Metrics | None = None
        self._engine = engine
        self._last_tier = last_tier
        self._rate = rate
        self._random = Random(0)
        self._running: set[asyncio.Task[None]] = set()

    def consider(self, samples: list[Any], chosen: Attempt, controls: Controls) -> None:
        """Perhaps give an answer once more; it must have come the cascade's own way."""
        is_own_way = (controls.tier, controls.max_tier, controls.threshold) == (None, None, None)
        is_below = chosen.tier_index < self._last_tier and chosen.reason == "accepted"
        if not (is_own_way and is_below and len(samples) == 1):
            return
        if self._random.random() >= self._rate:
            return
        if len(self._running) >= MOST_AT_A_TIME or not self._engine.has_worker(self._last_tier):
            self._count(chosen.tier_index, "skipped")
            return
        text = str(chosen.outputs[0].get("text", ""))
        task = asyncio.create_task(self._run(samples[0], chosen.tier_index, text))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        """Abort what runs, and start nothing more."""
        self._rate = 0.0
        for task in self._running:
            task.cancel()

    async def _run(self, sample: Any, tier_index: int, text: str) -> None:
        order = AttemptOrder(
            tier_index=self._last_tier,
            threshold=0.0,
            early_abort=None,
            earlier_scores=(None,) * self._last_tier,
        )
        rid = attempt_rid(self._engine.new_rid_base(), 1)
        try:
            async with asyncio.timeout(DEADLINE_S):
                output, _ = await self._engine.run(sample, rid, order)
        except Exception as error:  # noqa: BLE001  nobody waits for it
            logger.debug("a shadow run failed: %s", error)
            self._count(tier_index, "failed")
            return
        if output["meta_info"]["finish_reason"].get("type") == "abort":
            self._count(tier_index, "failed")
            return
        agrees = same_answer(text, str(output.get("text", "")))
        self._count(tier_index, "agreed" if agrees else "differed")
        if tier_index in self.watches:
            self.watches[tier_index].add(agrees)

    def _count(self, tier_index: int, outcome: str) -> None:
        self.counts[tier_index, outcome] += 1
        if self.metrics is not None:
            self.metrics.shadowed(tier_index, outcome)
