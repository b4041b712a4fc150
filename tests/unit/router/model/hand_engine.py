"""An engine that does nothing by itself: a test ends its runs, and loses its workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.errors import OverloadError, WorkerDiedError, WorkerUnavailableError
from cascadia_sglang.messages import AttemptOrder, JudgeReport
from cascadia_sglang.router.engine_protocol import Output
from cascadia_sglang.router.poison_requests import Death
from cascadia_sglang.router.stream import is_last
from cascadia_sglang.testing.engine import FakeEngine
from cascadia_sglang.testing.replies import Reply
from cascadia_sglang.testing.requests import FakeSample

Said = tuple[Output, JudgeReport]


@dataclass(eq=False)
class HandRun:
    """A run that waits for what the test says.

    Attributes:
        prompt: its text, which names the request.
        tokens: that it has written.
    """

    rid: str
    prompt: str
    order: AttemptOrder
    worker_id: str
    events: asyncio.Queue[Said | Exception] = field(default_factory=asyncio.Queue)
    tokens: int = 0

    @property
    def tier(self) -> int:
        return self.order.tier_index

    def output(self, finish: dict[str, Any] | None) -> Output:
        return {
            "text": f"by tier {self.tier}",
            "output_ids": list(range(self.tokens)),
            "meta_info": {
                "id": self.rid,
                "finish_reason": finish,
                "completion_tokens": self.tokens,
            },
        }

    def say(self, *, committed: bool) -> None:
        """Write one more token."""
        self.tokens += 1
        report = JudgeReport(score=None, early_abort=False, committed=committed)
        self.events.put_nowait((self.output(None), report))

    def answer(self, score: float | None, *, early_abort: bool = False) -> None:
        """End by itself, or by the judge's hand."""
        self.tokens += 1
        finish = {"type": "abort" if early_abort else "stop"}
        report = JudgeReport(score=score, early_abort=early_abort)
        self.events.put_nowait((self.output(finish), report))

    def stop(self) -> None:
        """End as SGLang ends an aborted request: with what it has so far."""
        report = JudgeReport(score=None, early_abort=False)
        self.events.put_nowait((self.output({"type": "abort"}), report))


class HandEngine(FakeEngine):
    """Owns the workers and the runs on them.

    Attributes:
        ready: tier of each worker, in the order in which they came.
        overloaded: tiers whose workers take no more.
        running: by rid.
        begun: every run, in order.
    """

    def __init__(self, tiers: int) -> None:
        super().__init__(*[Reply()] * tiers)
        self.ready = {f"{tier}-0": tier for tier in range(tiers)}
        self.overloaded: set[int] = set()
        self.running: dict[str, HandRun] = {}
        self.begun: list[HandRun] = []
        self._numbers = [1] * tiers

    def has_worker(self, tier_index: int) -> bool:
        return tier_index in self.ready.values()

    def workers(self, tier_index: int) -> list[str]:
        return [worker_id for worker_id, tier in self.ready.items() if tier == tier_index]

    def abort(self, rid: str) -> None:
        if rid in self.running:
            self.running[rid].stop()

    def add_worker(self, tier_index: int) -> None:
        """One more worker of a tier is ready."""
        self.ready[f"{tier_index}-{self._numbers[tier_index]}"] = tier_index
        self._numbers[tier_index] += 1
        self._changed()

    def lose(self, worker_id: str, error: Exception) -> list[HandRun]:
        """A worker is gone; its runs hear of it, the youngest first."""
        del self.ready[worker_id]
        runs = self._on(worker_id)
        for run in runs:
            run.events.put_nowait(error)
        self._changed()
        return runs

    def die(self, worker_id: str, now: float) -> list[HandRun]:
        """As `lose`, by an error of the worker's own."""
        del self.ready[worker_id]
        runs = self._on(worker_id)
        rids = [run.rid for run in runs]
        death = Death(worker_id, rids, now, unheard=set(rids))
        for run in runs:
            run.events.put_nowait(WorkerDiedError("the worker died", death, run.rid))
        self._changed()
        return runs

    async def stream(
        self, sample: FakeSample, rid: str, order: AttemptOrder
    ) -> AsyncGenerator[Said, None]:
        run = HandRun(rid, sample.text, order, self._worker_for(order))
        self.running[rid] = run
        self.begun.append(run)
        try:
            while True:
                said = await run.events.get()
                if isinstance(said, WorkerDiedError):
                    said.death.unheard.discard(rid)
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            del self.running[rid]

    async def run(self, sample: FakeSample, rid: str, order: AttemptOrder) -> Said:
        async with contextlib.aclosing(self.stream(sample, rid, order)) as outputs:
            async for output, report in outputs:
                if is_last(output):
                    return output, report
        raise AssertionError("a stream ends with its last output")

    def _on(self, worker_id: str) -> list[HandRun]:
        rids = sorted((r for r, run in self.running.items() if run.worker_id == worker_id))
        return [self.running[rid] for rid in reversed(rids)]

    def _worker_for(self, order: AttemptOrder) -> str:
        """The one that is named, else the one of the tier with the fewest runs."""
        workers = self.workers(order.tier_index)
        if order.worker_id is not None:
            workers = [one for one in workers if one == order.worker_id]
        if not workers:
            raise WorkerUnavailableError("the tier has no worker")
        if order.tier_index in self.overloaded:
            raise OverloadError("the tier's workers take no more")
        return min(workers, key=lambda one: len(self._on(one)))
