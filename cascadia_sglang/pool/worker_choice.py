"""Which worker of a tier takes an attempt: the one that is done with it first."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from cascadia_sglang.pool.load_snapshots import published_load
from cascadia_sglang.pool.pool import Worker, WorkerPool
from cascadia_sglang.prefix.cached_prefixes import HeldPrefixes
from cascadia_sglang.prefix.price import WorkerOffer, attempt_s, cheapest
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.recent import RecentPrompts
from cascadia_sglang.prefix.speed import PublishedLoad, SpeedMeter

Rule = Literal["prefix", "least_loaded", "random"]
# What an answer is taken to have before the first one came.
FIRST_OUTPUT_TOKENS = 64.0
# Attempts that are remembered where a worker publishes no load.
MAX_SENT = 1024
# An answer's weight in the mean of a pool's answers' lengths.
OUTPUT_WEIGHT = 0.05


class _PoolState:
    """What is known of one pool: its workers' speed, its answers' length, its last prompts."""

    def __init__(self) -> None:
        self.meter = SpeedMeter()
        self.recent = RecentPrompts()
        self.output_tokens: float | None = None

    def answered(self, tokens: int) -> None:
        before = self.output_tokens
        self.output_tokens = (
            float(tokens) if before is None else before + OUTPUT_WEIGHT * (tokens - before)
        )


class WorkerChoice:
    """Chooses workers, and learns from every attempt what the next choice rests on."""

    def __init__(
        self,
        pool: WorkerPool,
        held: HeldPrefixes,
        rule: Rule = "prefix",
        load_of: Callable[[Worker], PublishedLoad | None] = published_load,
    ) -> None:
        """`load_of` reads what a worker's scheduler last published."""
        self.held = held
        self._pool = pool
        self._rule = rule
        self._load_of = load_of
        self._pools: dict[tuple[int, ...], _PoolState] = {}
        self._promised: dict[str, tuple[Prompt, int]] = {}
        self._sent: dict[str, deque[tuple[float, int]]] = {}
        self._loads: dict[str, PublishedLoad] = {}

    def pick(self, tier_index: int, prompt: Prompt | None) -> Worker | None:
        """The ready worker of a tier for a prompt; None where it has none."""
        candidates = self._pool.candidates(tier_index)
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        if self._rule == "random":
            return random.choice(candidates)
        if self._rule == "least_loaded" or prompt is None:
            return self._pool.pick(tier_index)
        offers = self._offers(candidates, prompt)
        state = self._state(candidates[0])
        speed = state.meter.speed()
        if speed is None:
            # Nothing was ever computed: whoever has the least to do.
            return self._pool.pick(tier_index)
        length = len(prompt.token_ids)
        return candidates[cheapest(offers, length, self._output_tokens(state), speed)]

    def seconds(self, tier_index: int, prompt: Prompt) -> float | None:
        """Of an attempt on the tier's best worker; None before it has computed anything."""
        candidates = self._pool.candidates(tier_index)
        if not candidates:
            return None
        offers = self._offers(candidates, prompt)
        state = self._state(candidates[0])
        speed = state.meter.speed()
        if speed is None:
            return None
        length = len(prompt.token_ids)
        tokens = self._output_tokens(state)
        return min(attempt_s(offer, length, tokens, speed) for offer in offers)

    def draft_break_even(self, tier_index: int) -> float | None:
        """Share of a draft that must be kept for its prefill to cost less than decoding the kept
        tokens, in a batch like those that run now; None before a step was seen."""
        candidates = self._pool.candidates(tier_index)
        loads = [load for worker in candidates if (load := self._last_load(worker)) is not None]
        speed = self._state(candidates[0]).meter.speed() if candidates else None
        if speed is None or not loads:
            return None
        batch = 1.0 + sum(load.running for load in loads) / len(loads)
        token_s = speed.token_s(batch) / batch
        return speed.prefill_s / token_s if token_s > 0.0 else None

    def tokens_per_step(self, tier_index: int) -> float | None:
        """Mean number of tokens that a decode step of the tier's workers gave a request; above 1
        with speculative decoding, None before a step was seen."""
        candidates = self._pool.candidates(tier_index)
        for worker in candidates:
            self._last_load(worker)
        return self._state(candidates[0]).meter.tokens_per_step() if candidates else None

    def block_sizes(self, tier_index: int) -> set[int]:
        """In which blocks the tier's workers hold prompts, in tokens."""
        workers = self._pool.candidates(tier_index)
        return self.held.block_sizes([worker.worker_id for worker in workers])

    def offer(self, worker: Worker, prompt: Prompt) -> WorkerOffer:
        """What a worker could do for a prompt."""
        return self._offers([worker], prompt)[0]

    def recent(self, worker: Worker) -> RecentPrompts:
        """The prompts that a worker's pool was last asked."""
        return self._state(worker).recent

    def sent(self, rid: str, worker: Worker, prompt: Prompt | None) -> None:
        """Note an attempt on its way to a worker."""
        if prompt is None:
            return
        held = self.held.tokens(prompt, [worker.worker_id])[0]
        self._promised[rid] = (prompt, held)
        uncached = len(prompt.token_ids) - held
        sent = self._sent.setdefault(worker.worker_id, deque(maxlen=MAX_SENT))
        sent.append((time.time(), uncached))
        self._state(worker).recent.add(prompt)

    def ended(self, rid: str, worker: Worker, meta: Mapping[str, Any] | None) -> None:
        """Learn from an attempt that has ended, by its last `meta_info`; None where none came."""
        promised = self._promised.pop(rid, None)
        if meta is None or promised is None:
            return
        prompt, tokens = promised
        self._state(worker).answered(meta.get("completion_tokens", 0))
        cached = meta.get("cached_tokens", 0)
        self.held.learn_cached(worker.worker_id, prompt, tokens, cached)

    def distrust(self, worker: Worker, rids: Iterable[str]) -> None:
        """Carry no prompt of these attempts to a new worker: one may have ended the last."""
        prompts = [self._promised[rid][0] for rid in rids if rid in self._promised]
        self._state(worker).recent.drop(prompts)

    def forget(self, worker: Worker) -> None:
        """Drop what is known of a worker that is gone."""
        self.held.drop(worker.worker_id)
        self._sent.pop(worker.worker_id, None)
        self._loads.pop(worker.worker_id, None)
        self._state(worker).meter.forget(worker.worker_id)

    def _state(self, worker: Worker) -> _PoolState:
        return self._pools.setdefault(worker.tiers, _PoolState())

    @staticmethod
    def _output_tokens(state: _PoolState) -> float:
        return FIRST_OUTPUT_TOKENS if state.output_tokens is None else state.output_tokens

    def _offers(self, workers: Sequence[Worker], prompt: Prompt) -> list[WorkerOffer]:
        held = self.held.tokens(prompt, [worker.worker_id for worker in workers])
        offers = []
        for worker, tokens in zip(workers, held, strict=True):
            load = self._last_load(worker)
            offers.append(
                WorkerOffer(
                    cached_tokens=tokens,
                    attempts=len(worker.rids),
                    unseen_tokens=self._unseen(worker, load),
                    load=load,
                )
            )
        return offers

    def _last_load(self, worker: Worker) -> PublishedLoad | None:
        load = self._load_of(worker)
        if load is None:
            return self._loads.get(worker.worker_id)
        self._loads[worker.worker_id] = load
        self._state(worker).meter.observe(worker.worker_id, load)
        return load

    def _unseen(self, worker: Worker, load: PublishedLoad | None) -> int:
        """Prompt tokens sent to a worker since it published its load."""
        sent = self._sent.get(worker.worker_id)
        if not sent:
            return 0
        while load is not None and sent and sent[0][0] <= load.at_s:
            sent.popleft()
        return sum(tokens for _, tokens in sent)
