"""The engine behind the router: SGLang's tokenizer manager and the worker pool."""

from __future__ import annotations

import functools
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.engine.draft_rules import takes_draft
from cascadia_sglang.engine.ended_attempts import LostAttempts, raise_if_refused
from cascadia_sglang.engine.requests import attempt_of, prompt_of, shape_of, split_request
from cascadia_sglang.errors import OverloadError, WorkerLostError, WorkerUnavailableError
from cascadia_sglang.messages import CONSTRAINTS, REPORT_KEY, AttemptOrder, JudgeReport
from cascadia_sglang.pool.pool import Limits, Worker, WorkerPool, WorkerState
from cascadia_sglang.pool.sessions import Sessions
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.request_guard.guard import RequestGuard
from cascadia_sglang.router.engine_protocol import Output, attempt_rid

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
        max_samples: int,
    ) -> None:
        """`judges_constrained` holds the tiers whose calibration knows answers under a grammar."""
        self._tiers = tiers
        self._choice = choice
        self._judges_constrained = judges_constrained
        self._pool = pool
        self._sessions = sessions
        self._queue_limit = queue_limit
        self.guard = RequestGuard(pool, queue_limit, max_samples)
        self._on_answer = on_answer
        self._lost = LostAttempts(on_fault)
        self._manager: TokenizerManager  # set by `connect`, before any request
        self._generate: Generate | None = None
        self._suffixes: list[list[int]] = []
        # 32 hex digits together, unique beyond this server's life.
        self._rid_prefix = secrets.token_hex(8)
        self._rid_numbers = itertools.count()

    def connect(self, manager: TokenizerManager, generate: Generate) -> None:
        """Take SGLang's tokenizer manager and its own, unpatched `generate_request`."""
        if self._generate is not None:
            return
        self._manager = manager
        self._lost.states = manager.rid_to_state
        self._generate = generate
        self.guard.connect(manager)
        encode = functools.partial(manager.tokenizer.encode, add_special_tokens=False)
        suffixes = [tier.prompt_suffix for tier in self._tiers]
        self._suffixes = [encode(suffix) if suffix else [] for suffix in suffixes]

    def new_rid_base(self) -> str:
        return f"{self._rid_prefix}{next(self._rid_numbers):016x}"

    def split(self, request: GenerateReqInput) -> list[list[GenerateReqInput]]:
        return split_request(request, self._manager)

    async def tokenise(self, samples: list[GenerateReqInput]) -> int | None:
        first = samples[0]
        if first.input_ids is None and first.text is not None and not first.contains_mm_input():
            input_ids, _ = await self._manager._tokenize_texts(first.text)
            self.guard.check_text(input_ids)
            for sample in samples:
                sample.input_ids = input_ids
                sample.text = None
        return None if first.input_ids is None else len(first.input_ids)

    def prompt_ids(self, sample: GenerateReqInput) -> list[int] | None:
        ids: list[int] | None = sample.input_ids
        return ids

    def prompt(self, sample: GenerateReqInput) -> Prompt | None:
        return prompt_of(sample)

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        return self._choice.seconds(tier_index, prompt)

    def max_new_tokens(self, sample: GenerateReqInput) -> int | None:
        value: int | None = sample.sampling_params.get("max_new_tokens")
        return value

    def is_judgeable(self, sample: GenerateReqInput, tier_index: int) -> bool:
        params = sample.sampling_params
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

    def token_ids(self, text: str) -> list[int]:
        ids: list[int] = self._manager.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def takes_draft(self, sample: GenerateReqInput, tier_index: int) -> bool:
        return takes_draft(sample, self._tiers[tier_index])

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

    def prompt_of_tier(self, sample: GenerateReqInput, tier_index: int) -> list[int]:
        """Token ids of a tokenised sample's prompt as a tier is asked it."""
        return [*sample.input_ids, *self._suffixes[tier_index]]

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
        return self._generate(self._manager, attempt, None)

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
            attempt.input_ids = self.prompt_of_tier(sample, order.tier_index)
        return attempt
