"""Hashes of a prompt's blocks, as SGLang's KV events name them.

A block's hash is SHA-256 over the digest of the block before it and the block's token ids as
little-endian 32-bit words (`srt/mem_cache/cpp_utils/hash_binding.cpp` of SGLang 0.5.23), so equal
hashes are equal prefixes. Events carry the first eight bytes of it, as a signed number.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

_WORD = "I"  # of an array: four bytes on every host of SGLang
_WORD_BYTES = 4
_PART_BLOCKS = 1_024


def block_hashes(token_ids: Sequence[int], block_tokens: int) -> npt.NDArray[np.int64]:
    """Of the whole blocks of a prompt, int64 [blocks].

    None where a token id is no unsigned 32-bit number: it is then no tokenizer's, and what is wrong
    with it is the engine's to say.
    """
    return joined_hashes(hash_parts(token_ids, block_tokens))


def joined_hashes(parts: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """All of `hash_parts`, int64 [blocks]."""
    return np.concatenate([np.empty(0, np.int64), *parts])


def hash_parts(token_ids: Sequence[int], block_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """What `block_hashes` gives, in parts that take about a millisecond each."""
    whole = len(token_ids) // block_tokens * block_tokens
    digests = block_digests(token_ids[:whole], block_tokens)
    try:
        while firsts := b"".join([digest[:8] for digest in islice(digests, _PART_BLOCKS)]):
            yield np.frombuffer(firsts, dtype=">i8").astype(np.int64)
    except (OverflowError, TypeError):
        # Raised before the first part.
        return


def block_digests(
    token_ids: Sequence[int], block_tokens: int, prior: bytes | None = None
) -> Iterator[bytes]:
    """The 32-byte digest of every block in turn, a last one that is not whole included.

    Args:
        prior: digest of the block before the first; None where there is none.

    Raises:
        OverflowError: if a token id is no unsigned 32-bit number.
        TypeError: if it is no whole number.
    """
    words = array(_WORD, token_ids)
    if sys.byteorder == "big":
        words.byteswap()
    data = words.tobytes()
    step = block_tokens * _WORD_BYTES
    sha256 = hashlib.sha256
    digest = prior or b""
    for start in range(0, len(data), step):
        digest = sha256(digest + data[start : start + step]).digest()
        yield digest
