"""Prefills the workers' caches: warming of the next tier, and of new workers."""

import asyncio
import logging
from collections.abc import Sequence

from cascadia_sglang.engine.sglang_engine import TokenizerEngine
from cascadia_sglang.errors import WorkerDiedError, WorkerLostError
from cascadia_sglang.pool.pool import Worker, WorkerPool
from cascadia_sglang.pool.worker_choice import WorkerChoice
from cascadia_sglang.prefix.prompt import Prompt
from cascadia_sglang.prefix.warming import Quietness

logger = logging.getLogger(__name__)


class WorkerPrefiller:
    """Implements `prefix.warming.Prefiller`, and carries a pool's prefixes to a new worker."""

    def __init__(self, pool: WorkerPool, choice: WorkerChoice, engine: TokenizerEngine) -> None:
        self._pool = pool
        self._choice = choice
        self._engine = engine
        self._busy: set[str] = set()  # workers that compute a chunk

    def holder(self, tier_index: int, prompt: Prompt) -> Quietness | None:
        worker = self._choice.pick(tier_index, prompt)
        if worker is None:
            return None
        offer = self._choice.offer(worker, prompt)
        waiting = 0 if offer.load is None else offer.load.waiting
        running = 0 if offer.load is None else offer.load.running
        # What the scheduler does not know of yet is on its way to wait there, and so is a chunk.
        on_the_way = max(0, offer.attempts - running - waiting)
        return Quietness(
            worker_id=worker.worker_id,
            held_tokens=offer.cached_tokens,
            waiting=waiting + on_the_way + (worker.worker_id in self._busy),
            running=running,
        )

    async def prefill(self, worker_id: str, prompt: Prompt, tokens: int) -> int:
        worker = self._pool.get(worker_id)
        if worker is None:
            raise WorkerLostError(f"worker {worker_id} is gone")
        self._busy.add(worker_id)
        try:
            computed = await self._compute(worker, prompt.token_ids[:tokens])
        finally:
            self._busy.discard(worker_id)
        self._choice.held.expect(worker_id, prompt, tokens)
        return computed

    async def carry(self, worker: Worker, limit_s: float) -> int:
        """Fill a worker that does not serve yet with its pool's hottest prefixes.

        Returns:
            Tokens that it has computed when the time was over.
        """
        recent, held = self._choice.recent(worker), self._choice.held
        tokens = 0
        try:
            async with asyncio.timeout(limit_s):
                for token_ids in recent.hottest(held.block_tokens(worker.worker_id)):
                    tokens += await self._compute(worker, token_ids)
                    held.expect(worker.worker_id, Prompt(token_ids), len(token_ids))
        except TimeoutError:
            logger.info("worker %s serves with %d tokens cached", worker.worker_id, tokens)
        except WorkerDiedError:
            # One of these prompts may have ended it: the next worker begins without them.
            recent.clear()
            raise
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001  a worker without prefixes is better than none
            logger.warning("worker %s got no prefixes: %s", worker.worker_id, error)
        return tokens

    async def _compute(self, worker: Worker, token_ids: Sequence[int]) -> int:
        """Have a worker keep these tokens in its cache; how many were not there."""
        meta = await self._engine.read(worker, token_ids)
        uncached: int = meta["prompt_tokens"] - meta["cached_tokens"]
        return uncached
