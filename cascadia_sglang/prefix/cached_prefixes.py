"""The cached prefix of a prompt on each worker, by its KV events or by an estimate."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cascadia_sglang.prefix.index import PrefixIndex
from cascadia_sglang.prefix.prompt import Prompt

# Pairs of block and worker, about 40 MB.
MAX_BLOCKS = 1 << 21
# Of a worker that sends no events: its pages may be smaller, and then this is as fine as it gets.
GUESSED_BLOCK_TOKENS = 16


@dataclass(slots=True, kw_only=True)
class Promises:
    """How often a worker was said to hold some of a prompt, and did not.

    Attributes:
        made: attempts whose worker was said to hold a block or more.
        stale: those of them that found less, by a block or more.
    """

    made: int = 0
    stale: int = 0

    @property
    def stale_per_1000(self) -> float | None:
        return 1000.0 * self.stale / self.made if self.made else None


@dataclass(slots=True, kw_only=True)
class _Holder:
    """A worker: its block size, and where it sends no events, what was sent there, oldest first."""

    block_tokens: int
    has_events: bool
    capacity_blocks: int
    guessed: deque[npt.NDArray[np.int64]] = field(default_factory=deque)
    guessed_blocks: int = 0


class HeldPrefixes:
    """The prefix index of a server's workers, and how far it is to be trusted.

    `cached_tokens` of every attempt is compared with what was promised. A worker without events is
    taken to hold the prompts last sent there, as many as its KV pool has room for; what an attempt
    does not find is taken out.
    """

    def __init__(self) -> None:
        self.index = PrefixIndex(MAX_BLOCKS)
        self.reported = Promises()
        self.guessed = Promises()
        self._holders: dict[str, _Holder] = {}

    def add(self, worker_id: str, page_tokens: int, capacity_tokens: int, has_events: bool) -> None:
        """Take in a worker.

        Args:
            page_tokens: of its KV pool; the size of the blocks that its events name.
            capacity_tokens: of its KV pool.
        """
        block_tokens = page_tokens if has_events else max(page_tokens, GUESSED_BLOCK_TOKENS)
        self._holders[worker_id] = _Holder(
            block_tokens=block_tokens,
            has_events=has_events,
            capacity_blocks=max(1, capacity_tokens // block_tokens),
        )
        self.index.add_worker(worker_id)

    def drop(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        if self._holders.pop(worker_id, None) is not None:
            self.index.drop_worker(worker_id)

    def workers(self) -> list[str]:
        """Those that were taken in and not dropped."""
        return list(self._holders)

    def block_tokens(self, worker_id: str) -> int:
        """Of a worker that was taken in."""
        return self._holders[worker_id].block_tokens

    def block_sizes(self, worker_ids: Sequence[str]) -> set[int]:
        """Of those of them that were taken in."""
        return {self._holders[w].block_tokens for w in worker_ids if w in self._holders}

    def all_tokens(self, worker_id: str) -> int:
        """How many tokens a worker holds; 0 for one that is not known."""
        holder = self._holders.get(worker_id)
        return 0 if holder is None else holder.block_tokens * self.index.blocks_of(worker_id)

    def tokens(self, prompt: Prompt | None, worker_ids: Sequence[str]) -> list[int]:
        """How many of the prompt's first tokens each worker holds, in whole blocks."""
        counts = [0] * len(worker_ids)
        if prompt is None:
            return counts
        for size in self.block_sizes(worker_ids):
            hashes = prompt.hashes(size)
            if not len(hashes):
                continue
            places = [
                index
                for index, worker_id in enumerate(worker_ids)
                if worker_id in self._holders and self._holders[worker_id].block_tokens == size
            ]
            blocks = self.index.held(hashes, [worker_ids[index] for index in places])
            for index, count in zip(places, blocks, strict=True):
                counts[index] = count * size
        return counts

    def expect(self, worker_id: str, prompt: Prompt, tokens: int) -> None:
        """Count these first tokens as held: they were just computed there."""
        holder = self._holders.get(worker_id)
        if holder is not None:
            self._store(worker_id, holder, prompt.hashes(holder.block_tokens), tokens)

    def learn_cached(self, worker_id: str, prompt: Prompt, promised: int, cached: int) -> None:
        """Compare what an attempt found in the cache with what was promised; learn from both."""
        holder = self._holders.get(worker_id)
        if holder is None:
            return
        promises = self.reported if holder.has_events else self.guessed
        size = holder.block_tokens
        if promised:
            promises.made += 1
            # The last block is computed anew where it ends the prompt.
            promises.stale += cached + size < promised
        if holder.has_events:
            return
        hashes = prompt.hashes(size)
        if cached + size < promised:
            self.index.removed(worker_id, hashes[cached // size :])
        self._store(worker_id, holder, hashes, len(prompt.token_ids))

    def _store(
        self, worker_id: str, holder: _Holder, hashes: npt.NDArray[np.int64], tokens: int
    ) -> None:
        held_hashes = hashes[: tokens // holder.block_tokens]
        if not len(held_hashes):
            return
        new = held_hashes[self.index.held(held_hashes, [worker_id])[0] :]
        if not len(new):
            return
        self.index.stored(worker_id, new)
        if holder.has_events:
            return
        holder.guessed.append(new)
        holder.guessed_blocks += len(new)
        while holder.guessed_blocks > holder.capacity_blocks and len(holder.guessed) > 1:
            oldest = holder.guessed.popleft()
            holder.guessed_blocks -= len(oldest)
            self.index.removed(worker_id, oldest)
