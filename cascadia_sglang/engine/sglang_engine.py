"""The engine behind the router: SGLang's tokenizer manager and the worker pool."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.engine.decoding import decoder
from cascadia_sglang.engine.draft_rules import takes_draft
from cascadia_sglang.engine.ended_attempts import LostAttempts, raise_if_refused
from cascadia_sglang.engine.requests import attempt_of, prompt_of, shape_of, shared_prompt
from cascadia_sglang.engine.translation import DraftTranslator
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.engine.voiced_prompts import VoicedPrompts
from cascadia_sglang.errors import (
    OverloadError,
    RequestError,
    WorkerLostError,
    WorkerUnavailableError,
)
from cascadia_sglang.messages import CONSTRAINTS, REPORT_KEY, AttemptOrder, JudgeReport
from cascadia_sglang.pool.pool import Worker, WorkerPool, WorkerState
from cascadia_sglang.pool.sessions import Sessions
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.pool.worker_handle import Limits
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.request_guard.guard import RequestGuard
from cascadia_sglang.router.engine_protocol import Output, Refusal, Translation, attempt_rid
from cascadia_sglang.router.output_splitting import Decode

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

# SGLang's `generate_request`: (manager, request, HTTP request).
Generate = Callable[[Any, GenerateReqInput, None], AsyncIterator[Output]]


class TokenizerEngine:
    """Runs attempts through SGLang's own `generate_request`, each on the worker that was picked.

    Implements `router.engine_protocol.Engine`. `on_fault` hears of a worker that answered with an
    internal error, `on_answer` of one that answered.
    """

    def __init__(
        self,
        tiers: list[TierConfig],
        pool: WorkerPool,
        choice: WorkerChoice,
        sessions: Sessions,
        queue_limit: int,
        on_fault: Callable[[Worker, Exception], None],
        judges_constrained: Set[int] = frozenset(),
        on_answer: Callable[[Worker], None] = lambda _: None,
        *,
        views: VoiceViews,
        max_samples: int,
    ) -> None:
        """`judges_constrained` holds the tiers whose calibration knows answers under a grammar."""
        self._views = views
        self._tiers = tiers
        self._choice = choice
        self._judges_constrained = judges_constrained
        self._pool = pool
        self._sessions = sessions
        self._queue_limit = queue_limit
        self.guard = RequestGuard(pool, views.voices, queue_limit, max_samples)
        self._prompts = VoicedPrompts(views.voices, self.guard)
        self._translator = DraftTranslator(views, self.guard)
        self._on_answer = on_answer
        self._lost = LostAttempts(on_fault)
        self._manager: TokenizerManager  # set by `connect`, before any request
        self._generate: Generate | None = None
        self._suffixes: list[list[int]] = []
        # 32 hex digits together, unique beyond this server's life.
        self._rid_prefix = secrets.token_hex(8)
        self._rid_numbers = itertools.count()

    def connect(self, manager: TokenizerManager, generate: Generate) -> None:
        """Take SGLang's tokenizer manager, seen by every voice already, and its own, unpatched
        `generate_request`."""
        if self._generate is not None:
            return
        self._manager = manager
        self._lost.states = manager.rid_to_state
        self._generate = generate
        self.guard.connect(manager, self._views.tokenizers())
        self._prompts.connect(self._views)
        for index, tier in enumerate(self._tiers):
            tokenizer: Any = self._views.manager(index).tokenizer
            suffix = tier.prompt_suffix
            ids = tokenizer.encode(suffix, add_special_tokens=False) if suffix else []
            self._suffixes.append(ids)

    def new_rid_base(self) -> str:
        return f"{self._rid_prefix}{next(self._rid_numbers):016x}"

    def split(
        self, request: GenerateReqInput, pinned_tier: int | None = None
    ) -> list[list[GenerateReqInput]]:
        return self._prompts.split(request, pinned_tier)

    def refusal(self, sample: GenerateReqInput, tier_index: int) -> Refusal | None:
        return self._prompts.refusal(sample, tier_index)

    async def tokenise(self, samples: list[GenerateReqInput], tier_index: int) -> int | None:
        tier_samples = await self._prompts.all(samples, tier_index)
        prompt = shared_prompt(tier_samples)
        if prompt is not None and prompt.is_long:
            await prompt.prepare(self._block_sizes(samples[0], tier_index))
        ids = tier_samples[0].input_ids
        return None if ids is None else len(ids)

    def _block_sizes(self, sample: GenerateReqInput, tier_index: int) -> set[int]:
        """In which blocks a prompt is looked for, on any tier that is asked it in this form."""
        tiers = range(len(self._tiers))
        alike = [tier for tier in tiers if self._prompts.are_alike(sample, tier_index, tier)]
        return set().union(*map(self._choice.block_sizes, alike))

    def is_tokenised(self, sample: GenerateReqInput, tier_index: int) -> bool:
        return self._prompts.ready_sample(sample, tier_index) is not None

    def prompt_tokens(self, sample: GenerateReqInput, tier_index: int) -> int | None:
        ids = self._ids(sample, tier_index)
        return None if ids is None else len(ids)

    def prompt_ids(self, sample: GenerateReqInput) -> list[int] | None:
        return self._ids(sample, 0)

    def _ids(self, sample: GenerateReqInput, tier_index: int) -> list[int] | None:
        tier_sample = self._prompts.ready_sample(sample, tier_index)
        ids: list[int] | None = None if tier_sample is None else tier_sample.input_ids
        return ids

    def prompt(self, sample: GenerateReqInput, tier_index: int) -> Prompt | None:
        tier_sample = self._prompts.ready_sample(sample, tier_index)
        return None if tier_sample is None else prompt_of(tier_sample)

    def asks_alike(self, sample: GenerateReqInput, tier_index: int, other_tier: int) -> bool:
        return self._prompts.are_alike(sample, tier_index, other_tier)

    def shares_tokens(self, tier_index: int, other_tier: int) -> bool:
        return self._views.voices.share_tokenizer(tier_index, other_tier)

    def decoder(self, request: GenerateReqInput, tier_index: int) -> Decode:
        """What turns a tier's tokens into text as a client's request asks for it."""
        params = self._prompts.sampling_params(request, tier_index)
        return decoder(self._views.manager(tier_index).tokenizer, params)

    async def translated(
        self, token_ids: Sequence[int], from_tier: int, to_tier: int
    ) -> Translation:
        return await self._translator.answer(token_ids, from_tier, to_tier)

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        return self._choice.seconds(tier_index, prompt)

    def max_new_tokens(self, sample: GenerateReqInput) -> int | None:
        value: int | None = sample.sampling_params.get("max_new_tokens")
        return value

    def is_judgeable(self, sample: GenerateReqInput, tier_index: int) -> bool:
        # A tier's own parser may constrain its answers to a chat with tools.
        params = (self._prompts.ready_sample(sample, tier_index) or sample).sampling_params
        if self._tiers[tier_index].hides_logits:
            return False
        if tier_index not in self._judges_constrained and any(params.get(k) for k in CONSTRAINTS):
            return False
        return params.get("max_new_tokens") != 0 and (params.get("beam_width") or 1) == 1

    def is_scoring(self, sample: GenerateReqInput) -> bool:
        start: int | None = sample.logprob_start_len
        return bool(sample.return_logprob) and start is not None and start >= 0

    def abort(self, rid: str) -> None:
        self._manager.abort_request(rid=rid)

    async def token_ids(self, text: str, tier_index: int) -> Sequence[int]:
        return await self._translator.text(text, tier_index)

    def takes_draft(self, sample: GenerateReqInput, tier_index: int) -> bool:
        tier_sample = self._prompts.ready_sample(sample, tier_index)
        return tier_sample is not None and takes_draft(tier_sample, self._tiers[tier_index])

    def draft_break_even(self, tier_index: int) -> float | None:
        if self._tiers[tier_index].speculation is not None:
            # It verifies as many tokens in a step without a draft.
            return 0.0
        return self._choice.draft_break_even(tier_index)

    def tokens_per_step(self, tier_index: int) -> float | None:
        return self._choice.tokens_per_step(tier_index)

    def limits(self, tier_index: int) -> Limits | None:
        return self._pool.limits(tier_index)

    def has_worker(self, tier_index: int) -> bool:
        return self._pool.limits(tier_index) is not None

    def workers(self, tier_index: int) -> list[str]:
        return [worker.worker_id for worker in self._pool.candidates(tier_index)]

    def passed_over(self, tier_index: int) -> str | None:
        worker = self._pool.pick_any(tier_index)
        return None if worker is None else worker.worker_id

    def shape(self, sample: GenerateReqInput) -> str:
        return shape_of(sample)

    def watch_workers(self, changed: Callable[[], None]) -> None:
        self._pool.watch(changed)

    @property
    def is_incremental(self) -> bool:
        return bool(self._manager.incremental_streaming_output)

    async def stream(
        self, sample: GenerateReqInput, rid: str, order: AttemptOrder
    ) -> AsyncGenerator[tuple[Output, JudgeReport], None]:
        sample = await self._prompts.single(sample, order.tier_index)
        worker = self._worker_for(sample, rid, order)
        attempt = self._attempt_object(worker, sample, rid, order)
        attempt.stream = True
        outputs = self._begin(worker, attempt, prompt_of(sample))
        last: Output | None = None
        try:
            async for output in outputs:
                raise_if_refused(output)
                last = output
                self._lost.seen(rid)
                yield output, JudgeReport.from_meta(output["meta_info"].pop(REPORT_KEY, None))
        except Exception as error:
            self._lost.raise_if_lost(error, rid, worker)
            raise
        finally:
            await self._end(outputs, rid, worker, last)

    async def run(
        self, sample: GenerateReqInput, rid: str, order: AttemptOrder
    ) -> tuple[Output, JudgeReport]:
        sample = await self._prompts.single(sample, order.tier_index)
        return await self.run_on(self._worker_for(sample, rid, order), sample, rid, order)

    def _worker_for(self, sample: GenerateReqInput, rid: str, order: AttemptOrder) -> Worker:
        worker: Worker | None
        if sample.session_params:
            worker = self._sessions.worker_of(sample.session_params)
        elif order.worker_id is not None:
            worker = self._pool.get(order.worker_id)
            if worker is None or worker.state is not WorkerState.READY:
                raise WorkerLostError(f"worker {order.worker_id} takes no attempts any more")
        else:
            worker = self._choice.pick(order.tier_index, prompt_of(sample))
        if worker is None:
            name = self._tiers[order.tier_index].name
            raise WorkerUnavailableError(f"tier {name} has no worker that accepts requests")
        if len(worker.rids) >= self._queue_limit and not order.is_retry:
            raise OverloadError(f"tier {self._tiers[order.tier_index].name} is full")
        if not sample.session_params and order.worker_id is None:
            self._lost.begin(rid)
        return worker

    async def run_on(
        self,
        worker: Worker,
        sample: GenerateReqInput,
        rid: str,
        order: AttemptOrder,
    ) -> tuple[Output, JudgeReport]:
        """`run` on a given worker."""
        sample = await self._prompts.single(sample, order.tier_index)
        attempt = self._attempt_object(worker, sample, rid, order)
        output = await self._only_output(worker, attempt, prompt_of(sample))
        return output, JudgeReport.from_meta(output["meta_info"].pop(REPORT_KEY, None))

    def fail_attempts(self, worker: Worker, on_explained: Callable[[], None] | None = None) -> None:
        """End the attempts of a worker that can no longer be completed; they may run elsewhere.

        Args:
            on_explained: given where the worker ended by an error of its own: its attempts are
                suspects then. Called once one of them is named as the cause.
        """
        rids = self._lost.fail(worker)
        if on_explained is not None and rids:
            self._lost.blame(worker, rids, on_explained)
            self._choice.distrust(worker, rids)

    def end_sessions(self, worker: Worker) -> None:
        """Forget the sessions of a worker that is gone, and answer who waits for one to open.

        SGLang waits for that worker's reply, without an end.
        """
        for name in self._sessions.lose(worker):
            opening = self._manager.session_futures.get(name)
            if opening is not None and not opening.done():
                lost = f"worker {worker.worker_id} was lost while it opened a session; try again"
                opening.set_exception(RequestError(503, lost))

    def move_attempts(self, worker: Worker, count: int) -> None:
        """As `LostAttempts.move`."""
        self._lost.move(worker, count)

    async def read(self, worker: Worker, token_ids: Sequence[int], **fields: Any) -> dict[str, Any]:
        """Have a worker compute these tokens, and write none; the `meta_info` of that.

        Args:
            fields: of SGLang's request, besides.

        Raises:
            WorkerLostError: if the worker was lost.
        """
        request = GenerateReqInput(
            input_ids=list(token_ids),
            sampling_params={"max_new_tokens": 0},
            rid=attempt_rid(self.new_rid_base(), 0),
            **fields,
        )
        request.normalize_batch_and_arguments()
        self._manager._set_default_priority(request)
        if self._manager.enable_metrics:
            request.custom_labels = {"tier": worker.handle.pool.name, "worker": worker.worker_id}
        meta: dict[str, Any] = (await self._only_output(worker, request, None))["meta_info"]
        return meta

    async def ids_for(self, sample: GenerateReqInput, tier_index: int) -> list[int]:
        """Token ids of a tokenised sample's prompt, with the suffix, as a tier is asked it."""
        tier_sample = await self._prompts.single(sample, tier_index)
        return [*tier_sample.input_ids, *self._suffixes[tier_index]]

    async def _only_output(
        self, worker: Worker, attempt: GenerateReqInput, prompt: Prompt | None
    ) -> Output:
        outputs = self._begin(worker, attempt, prompt)
        output: Output | None = None
        try:
            output = await anext(outputs)
        except Exception as error:
            self._lost.raise_if_lost(error, attempt.rid, worker)
            raise
        finally:
            await self._end(outputs, attempt.rid, worker, output)
        return output

    def _begin(
        self, worker: Worker, attempt: GenerateReqInput, prompt: Prompt | None
    ) -> AsyncIterator[Output]:
        assert self._generate is not None
        self._choice.sent(attempt.rid, worker, prompt)
        self._pool.assign(attempt.rid, worker)
        # Without the HTTP request: the router itself watches for clients that disconnect.
        return self._generate(self._views.manager(worker.tiers[0]), attempt, None)

    async def _end(
        self, outputs: AsyncIterator[Output], rid: str, worker: Worker, last: Output | None
    ) -> None:
        await outputs.aclose()  # type: ignore[attr-defined]
        if last is not None:
            self._on_answer(worker)
        self._choice.ended(rid, worker, None if last is None else last["meta_info"])
        self._pool.release(rid)
        self._lost.forget(rid)
        states = self._manager.rid_to_state
        if rid in states:
            # It was aborted; its state goes when the worker says so, or with the worker.
            worker.ending = {other for other in worker.ending if other in states} | {rid}

    def _attempt_object(
        self, worker: Worker, sample: GenerateReqInput, rid: str, order: AttemptOrder
    ) -> GenerateReqInput:
        tier = self._tiers[order.tier_index]
        attempt = attempt_of(sample, rid, order, tier)
        if self._manager.enable_metrics:
            labels = {"tier": tier.name, "worker": worker.worker_id}
            attempt.custom_labels = {**(sample.custom_labels or {}), **labels}
        if sample.session_params:
            attempt.session_params = self._sessions.as_known(sample.session_params, sample.rid, rid)
        if attempt.input_ids is not None and self._suffixes[order.tier_index]:
            attempt.input_ids = [*sample.input_ids, *self._suffixes[order.tier_index]]
        return attempt
