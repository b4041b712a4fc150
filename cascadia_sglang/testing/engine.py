"""A scripted engine. With it come the other doubles that a test of the request path needs."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from cascadia_sglang.errors import (
    AttemptFailedError,
    UnreadablePromptError,
    WorkerDiedError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import DRAFT_KEY, AttemptOrder, DraftReport, JudgeReport
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.router.engine_protocol import Output, Refusal, Translation
from cascadia_sglang.router.poison_requests import Death
from cascadia_sglang.testing.cascade import make_cascade
from cascadia_sglang.testing.replies import FakeLimits, FakeRun, Reply, ReplyStep
from cascadia_sglang.testing.requests import FakeRequest, FakeSample, make_request

__all__ = [
    "FakeEngine",
    "FakeLimits",
    "FakeRequest",
    "FakeRun",
    "FakeSample",
    "Reply",
    "ReplyStep",
    "make_cascade",
    "make_request",
]


class FakeEngine:
    """Answers from a script, without SGLang. Implements `router.engine_protocol.Engine`.

    Args:
        tiers: a reply a tier, or replies by prompt, or a sequence that is used up run by run;
            None for a tier without a worker.
        limits: a limit a tier; the default fits everything.
        workers: how many each tier has, one where it is not said; a lost one does not come back.
        tokenise_seconds: how long tokenising takes.
        tokenizers: number of each tier's, 0 throughout where none are given.
    """

    def __init__(
        self,
        *tiers: Reply | Mapping[str, Reply] | Sequence[Reply] | None,
        limits: Sequence[FakeLimits | None] | None = None,
        workers: Sequence[int] | None = None,
        tokenise_seconds: float = 0.0,
        tokenizers: Sequence[int] | None = None,
    ) -> None:
        self._tokenizers = list(tokenizers) if tokenizers is not None else [0] * len(tiers)
        # Prompts by text, and the tokenizer that each was made for, in order.
        self.tokenised: list[tuple[str, int]] = []
        self.tokenise_calls = 0
        # Tiers that were priced, each with the first id of the prompt that it was shown.
        self.priced: list[tuple[int, int]] = []
        self._tiers = [iter(tier) if isinstance(tier, Sequence) else tier for tier in tiers]
        self._limits = list(limits) if limits is not None else [FakeLimits()] * len(tiers)
        self._workers = list(workers) if workers is not None else [1] * len(tiers)
        self._tokenise_seconds = tokenise_seconds
        self._bases = itertools.count()
        self.runs: list[FakeRun] = []
        # Of an attempt on each tier; empty while that is unknown.
        self.tier_seconds: list[float] = []
        self.break_even: float | None = None
        self.tier_tokens_per_step: dict[int, float] = {}
        # Id of a ready worker of a tier that is passed over.
        self.passed: dict[int, str] = {}
        self._changed: Callable[[], None] = lambda: None

    @property
    def visits(self) -> list[int]:
        """Tier of every run, in the order in which they began."""
        return [run.order.tier_index for run in self.runs]

    def abort(self, rid: str) -> None:
        """End a run as SGLang ends an aborted request: with what it has so far."""
        for run in self.runs:
            if run.rid == rid:
                run.stop.set()

    def split(self, request: FakeRequest, pinned_tier: int | None) -> list[list[FakeSample]]:
        del pinned_tier
        return request.prompts

    def refusal(self, sample: FakeSample, tier_index: int) -> Refusal | None:
        is_refused = sample.bears_ids and self._tokenizers[tier_index] != 0
        return Refusal.OTHER_TOKENIZER if is_refused else None

    async def tokenise(self, samples: list[FakeSample], tier_index: int) -> int | None:
        sample = samples[0]
        self.tokenise_calls += 1
        if tier_index in sample.unreadable:
            raise UnreadablePromptError(f"tier {tier_index} takes no such prompt")
        if not self.is_tokenised(sample, tier_index):
            await asyncio.sleep(self._tokenise_seconds)
            self.tokenised.append((sample.text, self._tokenizers[tier_index]))
            for fake in samples:
                fake.made.add(self._tokenizers[tier_index])
        return self._length(sample, tier_index)

    def is_tokenised(self, sample: FakeSample, tier_index: int) -> bool:
        return self._tokenizers[tier_index] in sample.made

    def prompt_tokens(self, sample: FakeSample, tier_index: int) -> int | None:
        is_known = self.is_tokenised(sample, tier_index)
        return self._length(sample, tier_index) if is_known else None

    def _length(self, sample: FakeSample, tier_index: int) -> int | None:
        return sample.tokens_of.get(self._tokenizers[tier_index], sample.prompt_tokens)

    def prompt(self, sample: FakeSample, tier_index: int) -> Prompt | None:
        """Its ids are the letters' codes, each with the number of the tokenizer added."""
        if sample.prompt_tokens is None or not self.is_tokenised(sample, tier_index):
            return None
        return Prompt([ord(letter) + self._tokenizers[tier_index] for letter in sample.text])

    def asks_alike(self, sample: FakeSample, tier_index: int, other_tier: int) -> bool:
        del sample
        return self.shares_tokens(tier_index, other_tier)

    def shares_tokens(self, tier_index: int, other_tier: int) -> bool:
        return self._tokenizers[tier_index] == self._tokenizers[other_tier]

    async def translated(
        self, token_ids: Sequence[int], from_tier: int, to_tier: int
    ) -> Translation:
        """Twice as many tokens in another tokenizer; those of one that ends in 0 are not exact."""
        if self.shares_tokens(from_tier, to_tier):
            return Translation(token_ids=tuple(token_ids))
        translated = tuple(token for source in token_ids for token in (source, source + 100))
        return Translation(token_ids=translated, is_exact=token_ids[-1] != 0)

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        self.priced.append((tier_index, prompt.token_ids[0]))
        return self.tier_seconds[tier_index] if self.tier_seconds else None

    def prompt_ids(self, sample: FakeSample) -> list[int] | None:
        is_known = sample.prompt_tokens is not None and self.is_tokenised(sample, 0)
        return list(map(ord, sample.text)) if is_known else None

    def max_new_tokens(self, sample: FakeSample) -> int | None:
        return sample.max_new_tokens

    def is_judgeable(self, sample: FakeSample, tier_index: int) -> bool:
        if isinstance(sample.judgeable, bool):
            return sample.judgeable
        return tier_index in sample.judgeable

    def is_scoring(self, sample: FakeSample) -> bool:
        return sample.scoring

    def takes_draft(self, sample: FakeSample, tier_index: int) -> bool:
        del tier_index
        return sample.takes_draft

    async def token_ids(self, text: str, tier_index: int) -> list[int]:
        del tier_index
        return list(text.encode())

    def draft_break_even(self, tier_index: int) -> float | None:
        del tier_index
        return self.break_even

    def tokens_per_step(self, tier_index: int) -> float | None:
        return self.tier_tokens_per_step.get(tier_index)

    def limits(self, tier_index: int) -> FakeLimits | None:
        return self._limits[tier_index]

    def has_worker(self, tier_index: int) -> bool:
        return self._tiers[tier_index] is not None and self._workers[tier_index] > 0

    def workers(self, tier_index: int) -> list[str]:
        if not self.has_worker(tier_index):
            return []
        return [f"{tier_index}-{number}" for number in range(self._workers[tier_index])]

    def passed_over(self, tier_index: int) -> str | None:
        return self.passed.get(tier_index)

    def watch_workers(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def come_back(self, tier_index: int) -> None:
        """One more worker of a tier is there."""
        self._workers[tier_index] += 1
        self._changed()

    def shape(self, sample: FakeSample) -> str:
        return f"{sample.prompt_tokens} prompt tokens"

    def new_rid_base(self) -> str:
        return f"{next(self._bases):08d}"

    @property
    def is_incremental(self) -> bool:
        return False

    async def stream(
        self, sample: FakeSample, rid: str, order: AttemptOrder
    ) -> AsyncGenerator[tuple[Output, JudgeReport], None]:
        """Half of the answer after every step of the reply, then the answer."""
        run = FakeRun(rid=rid, text=sample.text, order=order)
        self.runs.append(run)
        try:
            reply = self._choose(run)
            for step in reply.steps:
                await asyncio.sleep(step.seconds)
                meta_info = {"id": rid, "finish_reason": None, "completion_tokens": 1}
                half = {"text": f"{run.text} by", "meta_info": meta_info}
                yield half, JudgeReport(score=0.9, early_abort=False, committed=step.committed)
            yield await self._finish(run, reply)
        except (asyncio.CancelledError, GeneratorExit):
            run.end = run.end or "cancelled"
            raise

    async def run(
        self, sample: FakeSample, rid: str, order: AttemptOrder
    ) -> tuple[Output, JudgeReport]:
        run = FakeRun(rid=rid, text=sample.text, order=order)
        self.runs.append(run)
        try:
            return await self._finish(run, self._choose(run))
        except asyncio.CancelledError:
            run.end = "cancelled"
            raise

    def _choose(self, run: FakeRun) -> Reply:
        tier = self._tiers[run.order.tier_index]
        is_passed = run.order.worker_id in self.passed.values()
        if tier is None or not (is_passed or self.has_worker(run.order.tier_index)):
            run.end = "lost"
            raise WorkerUnavailableError("the tier has no worker")
        if isinstance(tier, Mapping):
            return tier[run.text]
        return tier if isinstance(tier, Reply) else next(tier)

    async def _finish(self, run: FakeRun, reply: Reply) -> tuple[Output, JudgeReport]:
        try:
            async with asyncio.timeout(reply.seconds):
                await run.stop.wait()
        except TimeoutError:
            run.end = "lost" if reply.lost else "failed" if reply.error else "answered"
        else:
            run.end = "aborted"
        if run.end == "lost":
            self._workers[run.order.tier_index] -= 1
            raise WorkerLostError("the worker was lost")
        if reply.dies:
            run.end = "lost"
            worker_id = run.order.worker_id or f"{run.order.tier_index}-0"
            self._workers[run.order.tier_index] -= 1
            death = Death(worker_id, [run.rid], asyncio.get_running_loop().time())
            raise WorkerDiedError("the worker died", death, run.rid)
        if reply.failed:
            raise AttemptFailedError("the worker failed")
        if reply.error is not None and run.end == "failed":
            raise reply.error
        is_cut = run.end == "aborted" or reply.early_abort
        meta_info: dict[str, Any] = {
            "id": run.rid,
            "finish_reason": {"type": "abort" if is_cut else "stop"},
            "completion_tokens": reply.tokens,
        }
        if run.order.draft and reply.kept is not None:
            score, least = reply.draft_score, run.order.confirm_at
            confirmed = score is not None and least is not None and score >= least
            draft_report = DraftReport(kept=reply.kept, score=score, confirmed=confirmed)
            meta_info[DRAFT_KEY] = draft_report.to_meta()
        answer = f"{run.text} by tier {run.order.tier_index}"
        output_ids = list(range(reply.tokens))
        output = {
            "text": reply.text or answer,
            "output_ids": output_ids,
            "meta_info": meta_info,
        }
        report = JudgeReport(
            score=reply.score,
            early_abort=reply.early_abort,
            uncut_score=reply.uncut_score,
            record=reply.record() if run.order.record else None,
        )
        return output, report
