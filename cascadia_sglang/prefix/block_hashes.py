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

import numpy as np
import numpy.typing as npt

_WORD = "I"  # of an array: four bytes on every host of SGLang
_WORD_BYTES = 4
# Of a part, at most.
_PART_BLOCKS = 1_024
_PART_TOKENS = 16_384


def block_hashes(token_ids: Sequence[int], block_tokens: int) -> npt.NDArray[np.int64]:
    """Of the whole blocks of a prompt, int64 [blocks].

    They end before a token id that is no unsigned 32-bit number: no tokenizer gives it, and the
    engine refuses it in its own words.
    """
    return joined_hashes(hash_parts(token_ids, block_tokens))


def joined_hashes(parts: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """All of `hash_parts`, int64 [blocks]."""
    return np.concatenate([np.empty(0, np.int64), *parts])


def hash_parts(token_ids: Sequence[int], block_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """What `block_hashes` gives, in parts of at most 1,024 blocks and 16,384 tokens.

    Each takes about a millisecond, for the ids of a part are converted with it.
    """
    part_tokens = min(_PART_BLOCKS, max(1, _PART_TOKENS // block_tokens)) * block_tokens
    whole = len(token_ids) // block_tokens * block_tokens
    prior: bytes | None = None
    for start in range(0, whole, part_tokens):
        part = token_ids[start : min(start + part_tokens, whole)]
        try:
            digests = list(block_digests(part, block_tokens, prior))
        except (OverflowError, TypeError):
            return
        prior = digests[-1]
        firsts = b"".join([digest[:8] for digest in digests])
        yield np.frombuffer(firsts, dtype=">i8").astype(np.int64)


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
