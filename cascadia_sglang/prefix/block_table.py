"""A set of pairs of a block and a worker, compact and fast to ask: open addressing in two arrays.

A place holds a block's hash and the number of a worker that holds it, 10 bytes; a place without a
worker is free. Pairs lie at the first free place from where their hash points (linear probing), and
what is taken out is closed up again, so no place is ever lost.

Shape legend: P places, a power of two; n blocks, w workers.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.int64]
Slots = npt.NDArray[np.uint16]

FIRST_PLACES = 1 << 10
# More would make runs of taken places long.
FULLEST = 0.6
_FREE = 0


class BlockTable:
    """Pairs of block and worker slot, up to a bound. Slots are numbers from 1 to 65,535."""

    def __init__(self, max_pairs: int) -> None:
        self.max_pairs = max_pairs
        self.pairs = 0
        self._hash_P = np.zeros(FIRST_PLACES, np.int64)
        self._slot_P = np.zeros(FIRST_PLACES, np.uint16)

    @property
    def nbytes(self) -> int:
        return self._hash_P.nbytes + self._slot_P.nbytes

    def insert(self, hash_n: Hashes, slot: int) -> int:
        """Put blocks of a worker in; how many were not taken because the table is full."""
        taken = min(len(hash_n), self.max_pairs - self.pairs)
        self._make_room(self.pairs + taken)
        self.pairs += _insert(self._hash_P, self._slot_P, hash_n[:taken], slot)
        return len(hash_n) - taken

    def delete(self, hash_n: Hashes, slot: int) -> None:
        """Take blocks of a worker out; one that is not there changes nothing."""
        self.pairs -= _delete(self._hash_P, self._slot_P, hash_n, slot)

    def delete_slot(self, slot: int) -> None:
        """Take all blocks of a worker out."""
        self.pairs -= _delete(
            self._hash_P, self._slot_P, self._hash_P[self._slot_P == slot].copy(), slot
        )

    def held(self, hash_n: Hashes, slot_w: Slots) -> npt.NDArray[np.int64]:
        """How many of the first blocks, in order, each worker holds, int64 [w]."""
        counts_w: npt.NDArray[np.int64] = _held(self._hash_P, self._slot_P, hash_n, slot_w)
        return counts_w

    def _make_room(self, pairs: int) -> None:
        places = len(self._hash_P)
        while pairs > FULLEST * places:
            places *= 2
        if places == len(self._hash_P):
            return
        hash_P, slot_P = np.zeros(places, np.int64), np.zeros(places, np.uint16)
        _rehash(self._hash_P, self._slot_P, hash_P, slot_P)
        self._hash_P, self._slot_P = hash_P, slot_P


@numba.njit("int64(int64, int64, int64)", cache=True)
def _home(block: int, slot: int, places: int) -> int:
    """Where a pair would lie in an empty table. Block hashes are random; slots are spread."""
    mixed = block ^ (slot * 0x1E3779B97F4A7C15)
    mixed ^= mixed >> 29
    return int(mixed & (places - 1))


@numba.njit("int64(int64[:], uint16[:], int64, int64)", cache=True)
def _find(hash_P: Hashes, slot_P: Slots, block: int, slot: int) -> int:
    """The place of a pair, or the free one where it would go."""
    places = len(hash_P)
    place = _home(block, slot, places)
    while slot_P[place] != _FREE and not (hash_P[place] == block and slot_P[place] == slot):
        place = (place + 1) & (places - 1)
    return int(place)


@numba.njit("int64(int64[:], uint16[:], int64[:], int64)", cache=True)
def _insert(hash_P: Hashes, slot_P: Slots, hash_n: Hashes, slot: int) -> int:
    """How many were new."""
    new = 0
    for block in hash_n:
        place = _find(hash_P, slot_P, block, slot)
        if slot_P[place] == _FREE:
            hash_P[place] = block
            slot_P[place] = slot
            new += 1
    return new


@numba.njit("int64(int64[:], uint16[:], int64[:], int64)", cache=True)
def _delete(hash_P: Hashes, slot_P: Slots, hash_n: Hashes, slot: int) -> int:
    """How many were there. Later pairs of a run move up where their way leads over the hole."""
    last = len(hash_P) - 1
    gone = 0
    for block in hash_n:
        hole = _find(hash_P, slot_P, block, slot)
        if slot_P[hole] == _FREE:
            continue
        gone += 1
        place = hole
        while True:
            place = (place + 1) & last
            if slot_P[place] == _FREE:
                break
            home = _home(hash_P[place], np.int64(slot_P[place]), last + 1)
            if ((place - home) & last) >= ((place - hole) & last):
                hash_P[hole] = hash_P[place]
                slot_P[hole] = slot_P[place]
                hole = place
        slot_P[hole] = _FREE
    return gone


@numba.njit("int64[:](int64[:], uint16[:], int64[:], uint16[:])", cache=True)
def _held(hash_P: Hashes, slot_P: Slots, hash_n: Hashes, slot_w: Slots) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(slot_w), np.int64)
    for number in range(len(slot_w)):
        slot = np.int64(slot_w[number])
        for block in hash_n:
            if slot_P[_find(hash_P, slot_P, block, slot)] == _FREE:
                break
            counts[number] += 1
    return counts


@numba.njit("void(int64[:], uint16[:], int64[:], uint16[:])", cache=True)
def _rehash(old_hash_P: Hashes, old_slot_P: Slots, hash_P: Hashes, slot_P: Slots) -> None:
    for old in range(len(old_hash_P)):
        if old_slot_P[old] != _FREE:
            place = _find(hash_P, slot_P, old_hash_P[old], np.int64(old_slot_P[old]))
            hash_P[place] = old_hash_P[old]
            slot_P[place] = old_slot_P[old]
