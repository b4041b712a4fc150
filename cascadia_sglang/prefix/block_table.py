"""A set of pairs of a block and a worker, compact and fast to ask: open addressing in two arrays.

A bucket holds a block's hash and the number of a worker that holds it, 10 bytes; a bucket without a
worker is free. Pairs lie at the first free bucket from where their hash points (linear probing),
and what is taken out is closed up again, so no bucket is ever lost.

Shape legend: B buckets, a power of two; n blocks, w workers.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.int64]
Slots = npt.NDArray[np.uint16]

FIRST_BUCKETS = 1 << 10
# More would make runs of taken buckets long.
FULLEST = 0.6
_FREE = 0


class BlockTable:
    """Pairs of block and worker slot, up to a bound. Slots are numbers from 1 to 65,535."""

    def __init__(self, max_pairs: int) -> None:
        self.max_pairs = max_pairs
        self.pairs = 0
        self._hash_B = np.zeros(FIRST_BUCKETS, np.int64)
        self._slot_B = np.zeros(FIRST_BUCKETS, np.uint16)

    @property
    def nbytes(self) -> int:
        return self._hash_B.nbytes + self._slot_B.nbytes

    def insert(self, hash_n: Hashes, slot: int) -> int:
        """Put blocks of a worker in; how many were not taken because the table is full."""
        taken = min(len(hash_n), self.max_pairs - self.pairs)
        self._make_room(self.pairs + taken)
        self.pairs += _insert(self._hash_B, self._slot_B, hash_n[:taken], slot)
        return len(hash_n) - taken

    def delete(self, hash_n: Hashes, slot: int) -> None:
        """Take blocks of a worker out; one that is not there changes nothing."""
        self.pairs -= _delete(self._hash_B, self._slot_B, hash_n, slot)

    def delete_slot(self, slot: int) -> None:
        """Take all blocks of a worker out."""
        self.pairs -= _delete(
            self._hash_B, self._slot_B, self._hash_B[self._slot_B == slot].copy(), slot
        )

    def held(self, hash_n: Hashes, slot_w: Slots) -> npt.NDArray[np.int64]:
        """How many of the first blocks, in order, each worker holds, int64 [w]."""
        counts_w: npt.NDArray[np.int64] = _held(self._hash_B, self._slot_B, hash_n, slot_w)
        return counts_w

    def _make_room(self, pairs: int) -> None:
        buckets = len(self._hash_B)
        while pairs > FULLEST * buckets:
            buckets *= 2
        if buckets == len(self._hash_B):
            return
        hash_B, slot_B = np.zeros(buckets, np.int64), np.zeros(buckets, np.uint16)
        _rehash(self._hash_B, self._slot_B, hash_B, slot_B)
        self._hash_B, self._slot_B = hash_B, slot_B


@numba.njit("int64(int64, int64, int64)", cache=True)
def _home(block: int, slot: int, buckets: int) -> int:
    """Where a pair would lie in an empty table. Block hashes are random; slots are spread."""
    mixed = block ^ (slot * 0x1E3779B97F4A7C15)
    mixed ^= mixed >> 29
    return int(mixed & (buckets - 1))


@numba.njit("int64(int64[:], uint16[:], int64, int64)", cache=True)
def _find(hash_B: Hashes, slot_B: Slots, block: int, slot: int) -> int:
    """The bucket of a pair, or the free bucket where it would go."""
    buckets = len(hash_B)
    bucket = _home(block, slot, buckets)
    while slot_B[bucket] != _FREE and not (hash_B[bucket] == block and slot_B[bucket] == slot):
        bucket = (bucket + 1) & (buckets - 1)
    return int(bucket)


@numba.njit("int64(int64[:], uint16[:], int64[:], int64)", cache=True)
def _insert(hash_B: Hashes, slot_B: Slots, hash_n: Hashes, slot: int) -> int:
    """How many were new."""
    new = 0
    for block in hash_n:
        bucket = _find(hash_B, slot_B, block, slot)
        if slot_B[bucket] == _FREE:
            hash_B[bucket] = block
            slot_B[bucket] = slot
            new += 1
    return new


@numba.njit("int64(int64[:], uint16[:], int64[:], int64)", cache=True)
def _delete(hash_B: Hashes, slot_B: Slots, hash_n: Hashes, slot: int) -> int:
    """How many were there. Later pairs of a run move up where their way leads over the hole."""
    last = len(hash_B) - 1
    gone = 0
    for block in hash_n:
        hole = _find(hash_B, slot_B, block, slot)
        if slot_B[hole] == _FREE:
            continue
        gone += 1
        bucket = hole
        while True:
            bucket = (bucket + 1) & last
            if slot_B[bucket] == _FREE:
                break
            home = _home(hash_B[bucket], np.int64(slot_B[bucket]), last + 1)
            if ((bucket - home) & last) >= ((bucket - hole) & last):
                hash_B[hole] = hash_B[bucket]
                slot_B[hole] = slot_B[bucket]
                hole = bucket
        slot_B[hole] = _FREE
    return gone


@numba.njit("int64[:](int64[:], uint16[:], int64[:], uint16[:])", cache=True)
def _held(hash_B: Hashes, slot_B: Slots, hash_n: Hashes, slot_w: Slots) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(slot_w), np.int64)
    for number in range(len(slot_w)):
        slot = np.int64(slot_w[number])
        for block in hash_n:
            if slot_B[_find(hash_B, slot_B, block, slot)] == _FREE:
                break
            counts[number] += 1
    return counts


@numba.njit("void(int64[:], uint16[:], int64[:], uint16[:])", cache=True)
def _rehash(old_hash_B: Hashes, old_slot_B: Slots, hash_B: Hashes, slot_B: Slots) -> None:
    for old in range(len(old_hash_B)):
        if old_slot_B[old] != _FREE:
            bucket = _find(hash_B, slot_B, old_hash_B[old], np.int64(old_slot_B[old]))
            hash_B[bucket] = old_hash_B[old]
            slot_B[bucket] = old_slot_B[old]
