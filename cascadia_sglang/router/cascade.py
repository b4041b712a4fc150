"""The requests on their way: registered, sent to climb, answered under the caller's rids."""

import asyncio
import contextlib
import functools
import itertools
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from cascadia_sglang.config.cascade_file import with_thresholds
from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import HungUpError, RequestError
from cascadia_sglang.failure_counts import is_logged
from cascadia_sglang.router.attempt import story_of
from cascadia_sglang.router.climb import climb
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.events import RequestRefused
from cascadia_sglang.router.request import ActiveRequest, RequestPrompt, ResponseSummary
from cascadia_sglang.router.retries import known_body
from cascadia_sglang.router.services import Services
from cascadia_sglang.router.stream import Sink, streamed

DISCONNECT_POLL_S = 0.4

logger = logging.getLogger(__name__)


class CascadeRouter:
    """Takes requests through the tiers. Owns those on their way, by the caller's rid.

    Attributes:
        config: with the thresholds in force; requests on their way keep those they began with.
        gear: of the thresholds in force, see `routing.gears`.
    """

    def __init__(self, services: Services) -> None:
        self.config: CascadeConfig = services.config
        self.gear = 0
        self.services = services
        self._engine = services.engine
        self._active: dict[str, ActiveRequest] = {}
        self._prompt_ids = itertools.count()
        self._is_admitting = True
        self._unseen_clients = 0  # times that one could not be watched

    @property
    def active_count(self) -> int:
        """Samples on their way."""
        return len(self._active)

    async def answer(
        self, request: Any, http_request: Any, controls: Controls, summary: ResponseSummary
    ) -> AsyncIterator[Any]:
        """Answer a request as SGLang's own handlers expect it, under the caller's rids.

        Not streamed: one item, a list for a batch. Streamed: the items of each sample, the last of
        which is final. The handlers drop the generator after the first item of an answer
        that is not streamed, so nothing is left to do by then.

        Args:
            summary: is filled with what the request came to.

        Raises:
            RequestError: where it cannot be served; the engine's own errors pass unchanged.
        """
        try:
            active, prompts = await self._admit(request, http_request, controls, summary)
        except Exception as error:
            summary.is_counted = True
            self.services.observers.refused(RequestRefused(error=error))
            raise
        tasks: list[asyncio.Task[list[Output]]] = []
        try:
            if request.stream:
                climbs = [functools.partial(self._answer_to, p, active) for p in prompts]
                async with contextlib.aclosing(
                    streamed(climbs, len(prompts[0]), request.is_single)
                ) as outputs:
                    async for item in outputs:
                        yield item
                return
            if len(prompts) == 1:
                groups = [await self._answer_to(prompts[0], active)]
            else:
                tasks = [asyncio.create_task(self._answer_to(p, active)) for p in prompts]
                groups = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            self._forget(prompts)
        items = [item for group in groups for item in group]
        yield items[0] if request.is_single else items

    async def _admit(
        self, request: Any, http_request: Any, controls: Controls, summary: ResponseSummary
    ) -> tuple[ActiveRequest, list[list[Any]]]:
        """Register a request; the samples of each of its prompts.

        Raises:
            RequestError: where it is refused.
        """
        if not self._is_admitting:
            raise RequestError(503, "the server is shutting down")
        self.services.scores.check_own_threshold(controls)
        body = await known_body(self.services.suspects, http_request)
        prompts = self._engine.split(request, controls.tier)
        limits = [x for x in (controls.deadline_s, self.config.routing.deadline_s) if x is not None]
        summary.gear = self.gear
        active = ActiveRequest(
            http_request=http_request,
            controls=controls,
            summary=summary,
            deadline=asyncio.get_running_loop().time() + min(limits) if limits else None,
            rid_base=self._engine.new_rid_base(),
            is_batch=len(prompts) > 1,
            body=body,
        )
        rids = [sample.rid for samples in prompts for sample in samples]
        for rid in rids:
            if rid in self._active:
                raise RequestError(400, f"Duplicate request ID detected: {rid}", "rid")
        self._active.update(dict.fromkeys(rids, active))
        return active, prompts

    async def _answer_to(
        self, samples: list[Any], active: ActiveRequest, sink: Sink | None = None
    ) -> list[Output]:
        """The outputs of one prompt's answer, under the caller's rids; the last where streamed."""
        services, config = self.services, self.config
        # The mean score of several samples says too little of one answer to be labelled.
        is_single = len(samples) == 1
        ticket = services.shadow.ticket(active.controls, config) if is_single else None
        prompt = RequestPrompt(
            prompt_id=next(self._prompt_ids),
            samples=samples,
            sample=samples[0],
            request=active,
            controls=active.controls,
            config=config if ticket is None else ticket.config,
            ticket=ticket,
            arrived_s=time.monotonic(),
        )
        chosen, attempts = await climb(prompt, services, sink)
        active.summary.answered(chosen, is_batch=active.is_batch)
        prompt_ids = self._engine.prompt_ids(samples[0])
        story = story_of(attempts, chosen, self.config, prompt_ids)
        for sample, output in zip(samples, chosen.outputs, strict=True):
            output["meta_info"]["id"] = sample.rid
            output["meta_info"]["cascadia"] = story
        return chosen.outputs

    def _forget(self, prompts: list[list[Any]]) -> None:
        for samples in prompts:
            for sample in samples:
                self._active.pop(sample.rid, None)

    def abort(self, rid: str) -> set[str] | None:
        """End the request of a caller's rid: the rids of its running attempts, None if unknown."""
        active = self._active.get(rid)
        if active is None:
            return None
        active.abort()
        return set(active.rids)

    def abort_all(self) -> None:
        """Let no request climb any further."""
        for active in set(self._active.values()):
            active.abort()

    def stop_admitting(self) -> None:
        """Refuse every request from now on; those on their way go on."""
        self._is_admitting = False

    def end_all(self) -> None:
        """Give up every request that is still on its way; each fails with a clear error."""
        self.services.shadow.stop()
        for active in set(self._active.values()):
            active.give_up(RequestError(503, "the server is shutting down"))

    def set_thresholds(self, thresholds: list[float], gear: int) -> None:
        """Use these thresholds, of this gear, from now on; requests on their way keep theirs.

        Raises:
            ConfigError: if they are not one number in [0, 1] for every tier but the last, or a
                tier is ranked.
        """
        changed = with_thresholds(self.config, thresholds)
        self.services.scores.fix(thresholds)
        self.config, self.gear = changed, gear

    async def watch_disconnects(self) -> None:
        """End within a second what no client waits for any more. Runs until cancelled.

        What has come since the last check is left for the next: most of it will be over by then.
        """
        earlier: set[ActiveRequest] = set()
        while True:
            await asyncio.sleep(DISCONNECT_POLL_S)
            now = set(self._active.values())
            still_active, earlier = now & earlier, now
            for active in still_active:
                if await self._has_hung_up(active.http_request):
                    active.give_up(HungUpError())

    async def _has_hung_up(self, http_request: Any) -> bool:
        """Whether a client has left; no, where that cannot be seen."""
        try:
            return http_request is not None and await http_request.is_disconnected()
        except Exception:  # the other clients are watched all the same
            self._unseen_clients += 1
            if is_logged(self._unseen_clients):
                logger.exception(
                    "whether a client has left cannot be seen, failure %d", self._unseen_clients
                )
            return False
