"""The engine behind the router: SGLang's tokenizer manager and the worker pool."""

import asyncio
import copy
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Set
from typing import Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config import TierConfig
from cascadia_sglang.errors import WorkerError
from cascadia_sglang.messages import (
    ATTEMPT_KEY,
    CONSTRAINTS,
    REPORT_KEY,
    AttemptOrder,
    JudgeReport,
)
from cascadia_sglang.router.attempt import Output
from cascadia_sglang.workers.pool import Limits, Worker, WorkerPool, WorkerState

Generate = Callable[[Any, Any, Any], AsyncIterator[Output]]


class TokenizerEngine:
    """Runs attempts through SGLang's own `generate_request`, each on the worker that was picked.

    Implements `router.attempt.Engine`.
    """

    def __init__(
        self, tiers: list[TierConfig], pool: WorkerPool, judges_constrained: Set[int] = frozenset()
    ) -> None:
        """`judges_constrained` holds the tiers whose calibration knows answers under a grammar."""
        self._tiers = tiers
        self._judges_constrained = judges_constrained
        self._pool = pool
        self._manager: Any = None
        self._generate: Generate | None = None
        self._suffixes: list[list[int]] = []
        # 32 hex digits together, unique beyond this server's life.
        self._rid_prefix = secrets.token_hex(8)
        self._rid_numbers = itertools.count()

    def connect(self, manager: Any, generate: Generate) -> None:
        """Take SGLang's tokenizer manager and its own, unpatched `generate_request`."""
        if self._generate is not None:
            return
        self._manager = manager
        self._generate = generate
        self._suffixes = [
            manager.tokenizer.encode(tier.prompt_suffix, add_special_tokens=False)
            if tier.prompt_suffix
            else []
            for tier in self._tiers
        ]

    def new_rid_base(self) -> str:
        return f"{self._rid_prefix}{next(self._rid_numbers):016x}"

    def split(self, request: GenerateReqInput) -> list[list[GenerateReqInput]]:
        request.normalize_batch_and_arguments()
        self._manager._set_default_priority(request)
        if request.is_single:
            return [[request]]
        # SGLang repeats the whole batch once a sample; its answers group by prompt.
        prompts, samples = request.batch_size, request.parallel_sample_num
        if len(request.rid) < prompts * samples:
            # A client's own list names the prompts.
            request.rid = [f"{rid}_{sample}" for sample in range(samples) for rid in request.rid]
        return [
            [request[sample * prompts + prompt] for sample in range(samples)]
            for prompt in range(prompts)
        ]

    async def tokenise(self, samples: list[GenerateReqInput]) -> int | None:
        first = samples[0]
        if first.input_ids is None and first.text is not None and not first.contains_mm_input():
            input_ids, _ = await self._manager._tokenize_texts(first.text)
            for sample in samples:
                sample.input_ids = input_ids
                sample.text = None
        return None if first.input_ids is None else len(first.input_ids)

    def prompt_ids(self, sample: GenerateReqInput) -> list[int] | None:
        ids: list[int] | None = sample.input_ids
        return ids

    def max_new_tokens(self, sample: GenerateReqInput) -> int | None:
        value: int | None = sample.sampling_params.get("max_new_tokens")
        return value

    def is_judgeable(self, sample: GenerateReqInput, tier_index: int) -> bool:
        params = sample.sampling_params
        if tier_index not in self._judges_constrained and any(params.get(k) for k in CONSTRAINTS):
            return False
        return params.get("max_new_tokens") != 0 and (params.get("beam_width") or 1) == 1

    def limits(self, tier_index: int) -> Limits | None:
        return self._pool.limits(tier_index)

    async def run(
        self, sample: GenerateReqInput, rid: str, order: AttemptOrder
    ) -> tuple[Output, JudgeReport]:
        worker = self._pool.pick(order.tier_index)
        if worker is None:
            name = self._tiers[order.tier_index].name
            raise WorkerError(f"tier {name} has no worker that accepts requests")
        return await self.run_on(worker, sample, rid, order)

    async def run_on(
        self,
        worker: Worker,
        sample: GenerateReqInput,
        rid: str,
        order: AttemptOrder,
    ) -> tuple[Output, JudgeReport]:
        """`run` on a given worker."""
        assert self._generate is not None
        attempt = self._attempt_object(sample, rid, order)
        self._pool.assign(rid, worker)
        # Without the HTTP request: the router itself watches for clients that disconnect.
        outputs = self._generate(self._manager, attempt, None)
        try:
            output = await anext(outputs)
        except (ValueError, asyncio.CancelledError):
            raise
        except Exception as error:
            if worker.state is WorkerState.DEAD:
                raise WorkerError(f"worker {worker.worker_id} was lost") from error
            raise
        finally:
            await outputs.aclose()  # type: ignore[attr-defined]
            self._pool.release(rid)
        return output, JudgeReport.from_meta(output["meta_info"].pop(REPORT_KEY, None))

    def fail_attempts(self, worker: Worker) -> None:
        """End the attempts of a lost worker, as SGLang ends a request that was refused."""
        for rid in list(worker.rids):
            state = self._manager.rid_to_state.pop(rid, None)
            if state is None:
                continue
            reason = {"type": "abort", "message": "the worker was lost", "status_code": 503}
            state.out_list.append(
                {"text": "", "output_ids": [], "meta_info": {"id": rid, "finish_reason": reason}}
            )
            state.finished = True
            state.event.set()

    def _attempt_object(
        self, sample: GenerateReqInput, rid: str, order: AttemptOrder
    ) -> GenerateReqInput:
        attempt = copy.copy(sample)
        attempt.rid = rid
        attempt.stream = False
        tier = self._tiers[order.tier_index]
        params = {**sample.sampling_params, **tier.sampling, "n": 1}
        custom = params.get("custom_params") or {}
        params["custom_params"] = {**custom, ATTEMPT_KEY: order.to_params()}
        attempt.sampling_params = params
        suffix = self._suffixes[order.tier_index]
        if suffix and attempt.input_ids is not None:
            attempt.input_ids = [*attempt.input_ids, *suffix]
        return attempt
