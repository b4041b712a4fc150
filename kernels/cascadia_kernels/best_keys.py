"""(logit, column) pairs as sortable 64-bit keys, and the few best of many.

A key holds the logit's rank, its bits reordered so that integers compare as the floats do, above
the complement of its column: one integer comparison orders pairs, equal logits by their lower
column.
"""

import torch
import triton
import triton.language as tl

BEST_PAIRS = 16
NO_KEY = -(2**63)  # below the key of every logit but a NaN that no arithmetic yields

NO_RANK = -(2**31)  # below the rank of every logit but a NaN that no arithmetic yields

_SETS = tl.constexpr(BEST_PAIRS)
_NO_RANK = tl.constexpr(NO_RANK)


@triton.jit
def ranks_of(logits):
    """Integers that compare as float32 logits do."""
    bits = logits.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def keys_of(ranks, columns):
    """Keys, int64, of ranks and columns below 2^32."""
    return (ranks.to(tl.int64) << 32) | (0xFFFFFFFF - columns.to(tl.int64))


@triton.jit
def logits_of(keys):
    ranks = (keys >> 32).to(tl.int32)
    return (ranks ^ ((ranks >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def columns_of(keys):
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF)


@triton.jit
def lower_bound(ranks):
    """A rank that at least 16 of the ranks reach, from one reduction.

    The ranks fall into 16 interleaved sets, each of which has its maximum; all 16 maxima reach the
    least of them. Where fewer than 16 ranks are there, the bound lies below them all.
    """
    sets = tl.reshape(ranks, [ranks.numel // _SETS, _SETS])
    return tl.maximum(tl.min(tl.max(sets, axis=0), axis=0), _NO_RANK + 1)


@triton.jit
def raised_bound(ranks, bound, AT_MOST: tl.constexpr):
    """Raise a bound that at least 16 ranks reach until at most AT_MOST (> 16) do.

    Halves the interval between the bound and the best rank; at most 32 rounds, mostly none to four.
    Where more than AT_MOST equal ranks stand in the way, fewer than 16 lie above the bound.
    """
    count = tl.sum((ranks >= bound).to(tl.int32), axis=0)
    above = tl.max(ranks, axis=0)
    while (count > AT_MOST) & (bound + 1 < above):
        middle = (bound >> 1) + (above >> 1) + (bound & above & 1)
        reached = tl.sum((ranks >= middle).to(tl.int32), axis=0)
        is_bound = reached >= _SETS
        bound = tl.where(is_bound, middle, bound)
        count = tl.where(is_bound, reached, count)
        above = tl.where(is_bound, above, middle)
    return bound


@triton.jit
def places_of(ranks, bound, PLACES: tl.constexpr):
    """A place for every rank that reaches the bound, -1 for the others, and how many have one.

    Ranks above the bound come first, then those equal to it while there are places; each in order.
    """
    is_above = ranks > bound
    is_equal = ranks == bound
    # Both counts in one scan: neither passes 2^15.
    counts = tl.cumsum(is_above.to(tl.int32) * 65536 + is_equal.to(tl.int32), axis=0)
    both = tl.max(counts, axis=0)
    above = both >> 16
    place = tl.where(is_above, (counts >> 16) - 1, above + (counts & 0xFFFF) - 1)
    place = tl.where((is_above | is_equal) & (place < PLACES), place, -1)
    return place, tl.minimum(above + (both & 0xFFFF), PLACES)


def pack_keys(logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """`keys_of` in PyTorch."""
    bits = logits.contiguous().view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)
    return (ordered << 32) | (0xFFFFFFFF - columns)


def unpack_keys(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, float32, and columns, int64, of keys."""
    ordered = (keys >> 32).to(torch.int32)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return bits.view(torch.float32), 0xFFFFFFFF - (keys & 0xFFFFFFFF)
