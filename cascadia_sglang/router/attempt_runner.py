"""Runs a prompt's samples on one tier, and releases outputs that may leave."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from cascadia_sglang.errors import AttemptFailedError
from cascadia_sglang.messages import AttemptOrder
from cascadia_sglang.prefix.warming import Warming
from cascadia_sglang.router.attempt import Attempt, finished_attempt
from cascadia_sglang.router.engine_protocol import AttemptEngine
from cascadia_sglang.router.request import RequestPrompt
from cascadia_sglang.router.stream import Gate, Leaving, Sink, is_last

# How long after the deadline an ended run may take to hand over what it has written.
CUT_S = 1.0


class AttemptRunner:
    """Owns the runs of one prompt; each attempt runs all of its samples."""

    def __init__(self, prompt: RequestPrompt, engine: AttemptEngine, sink: Sink | None) -> None:
        """`sink` takes outputs of a streamed request; None where the answer leaves whole."""
        self._samples = prompt.samples
        self._request = prompt.request
        self._engine = engine
        self._sink = sink
        self._rids: set[str] = set()  # of the runs of these samples alone
        self._is_cut = False  # whether the deadline ended the last attempt

    @property
    def is_visible(self) -> bool:
        """Whether the client has seen some of an answer."""
        return self._sink is not None and self._sink.is_visible

    async def attempt(
        self, order: AttemptOrder, warming: Warming | None, leaves: Leaving, *, keeps: bool
    ) -> Attempt:
        """Run all samples to their end.

        Args:
            warming: of the next tier meanwhile, which hears of the chance of acceptance.
            leaves: when the outputs go to the client.
            keeps: whether a deadline ends the runs as a client's abort does, with what is written
                so far, rather than without an answer.

        Raises:
            TimeoutError: if the deadline passed, or the request was given up.
            RequestError: if nothing ran yet, and the request was given up or aborted.
        """
        self._request.check_wanted()
        started = time.monotonic()
        deadline, loop = self._request.deadline, asyncio.get_running_loop()
        cut = None
        if keeps and deadline is not None and deadline > loop.time():
            cut = loop.call_at(deadline, self._cut)
        try:
            async with self._request.limited(0.0 if cut is None else CUT_S):
                runs = self._of_samples(order, warming, leaves)
                results = [await runs[0]] if len(runs) == 1 else await all_or_none(runs)
        finally:
            if cut is not None:
                cut.cancel()
        attempt = finished_attempt(order, results, started)
        attempt.is_cut = self._is_cut and attempt.ended_by_engine()
        return attempt

    def _cut(self) -> None:
        self._is_cut = True
        for rid in self._rids:
            self._engine.abort(rid)

    def _begin(self) -> str:
        rid = self._request.begin_run()
        self._rids.add(rid)
        return rid

    def _end(self, rid: str) -> None:
        self._request.rids.discard(rid)
        self._rids.discard(rid)

    def _of_samples(
        self, order: AttemptOrder, warming: Warming | None, leaves: Leaving
    ) -> list[Coroutine[Any, Any, Any]]:
        if self._sink is None or leaves is Leaving.WHOLE:
            if order.tells_chance and warming is not None:
                return [self._listen(sample, order, warming) for sample in self._samples]
            return [self._run(sample, order) for sample in self._samples]
        rids = [sample.rid for sample in self._samples]
        gate = Gate(self._sink, rids, self._engine.is_incremental)
        return [
            self._stream(number, sample, order, gate, warming, leaves)
            for number, sample in enumerate(self._samples)
        ]

    async def _run(self, sample: Any, order: AttemptOrder) -> Any:
        rid = self._begin()
        try:
            return await self._engine.run(sample, rid, order)
        finally:
            self._end(rid)

    async def _listen(self, sample: Any, order: AttemptOrder, warming: Warming) -> Any:
        """`_run`, telling the warming what the judge says on the way."""
        rid = self._begin()
        try:
            async with contextlib.aclosing(self._engine.stream(sample, rid, order)) as outputs:
                async for output, report in outputs:
                    if is_last(output):
                        return output, report
                    if report.score is not None:
                        warming.learn_chance(report.score)
            raise AttemptFailedError("the stream ended before its answer")
        finally:
            self._end(rid)

    async def _stream(
        self,
        number: int,
        sample: Any,
        order: AttemptOrder,
        gate: Gate,
        warming: Warming | None,
        leaves: Leaving,
    ) -> Any:
        """`_run`, with its outputs sent on their way as the gate allows."""
        rid = self._begin()
        is_free = leaves is Leaving.AS_WRITTEN
        try:
            async with contextlib.aclosing(self._engine.stream(sample, rid, order)) as outputs:
                async for output, report in outputs:
                    if is_last(output):
                        return gate.whole(number, output), report
                    if warming is not None and report.score is not None:
                        warming.learn_chance(report.score)
                    gate.take(number, output, is_free or report.committed)
                    if self.is_visible:
                        self._request.show(order.tier_index)
            raise AttemptFailedError("the stream ended before its answer")
        finally:
            self._end(rid)


async def all_or_none(runs: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure ends the others."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
