"""Which worker holds which blocks. Hashes alone: the index knows no prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascadia_sglang.prefix.block_table import BlockTable, Hashes

_MAX_SLOT = 65_535


class PrefixIndex:
    """The blocks of every worker, up to a bound; for one thread.

    What is said of a worker that was not added, or was dropped, changes nothing.
    """

    def __init__(self, max_blocks: int) -> None:
        """`max_blocks` counts a block once for each worker that holds it, about 20 bytes each."""
        self.refused = 0  # blocks that found the index full
        self._table = BlockTable(max_blocks)
        self._slots: dict[str, int] = {}
        self._blocks: dict[str, int] = {}  # of each worker
        self._free = list(range(_MAX_SLOT, 0, -1))

    @property
    def blocks(self) -> int:
        return self._table.pairs

    def blocks_of(self, worker_id: str) -> int:
        """How many blocks a worker holds."""
        return self._blocks.get(worker_id, 0)

    @property
    def nbytes(self) -> int:
        return self._table.nbytes

    def add_worker(self, worker_id: str) -> None:
        """Take in a worker, which holds nothing yet."""
        if worker_id not in self._slots:
            self._slots[worker_id] = self._free.pop()
            self._blocks[worker_id] = 0

    def drop_worker(self, worker_id: str) -> None:
        """Forget a worker and all that it holds."""
        slot = self._slots.pop(worker_id, None)
        if slot is not None:
            self._table.delete_slot(slot)
            self._free.append(slot)
            del self._blocks[worker_id]

    def stored(self, worker_id: str, hashes: Sequence[int] | Hashes) -> None:
        """A worker holds these blocks now."""
        slot = self._slots.get(worker_id)
        if slot is not None:
            before = self._table.pairs
            self.refused += self._table.insert(np.asarray(hashes, np.int64), slot)
            self._blocks[worker_id] += self._table.pairs - before

    def removed(self, worker_id: str, hashes: Sequence[int] | Hashes) -> None:
        """A worker no longer holds these blocks."""
        slot = self._slots.get(worker_id)
        if slot is not None:
            before = self._table.pairs
            self._table.delete(np.asarray(hashes, np.int64), slot)
            self._blocks[worker_id] += self._table.pairs - before

    def cleared(self, worker_id: str) -> None:
        """A worker holds nothing any more."""
        slot = self._slots.get(worker_id)
        if slot is not None:
            self._table.delete_slot(slot)
            self._blocks[worker_id] = 0

    def held(self, hashes: Hashes, worker_ids: Sequence[str]) -> list[int]:
        """How many of a prompt's first blocks each worker holds; 0 for one that is not known."""
        slots = np.array([self._slots.get(worker_id, 0) for worker_id in worker_ids], np.uint16)
        counts: list[int] = self._table.held(hashes, slots).tolist()
        # Slot 0 stands for a free bucket, and so would hold everything.
        return [count if slot else 0 for count, slot in zip(counts, slots, strict=True)]
