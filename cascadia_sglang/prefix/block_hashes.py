"""Hashes of a prompt's blocks, as SGLang's KV events name them.

A block's hash is SHA-256 over the digest of the block before it and the block's token ids as
little-endian 32-bit words (`srt/mem_cache/cpp_utils/hash_binding.cpp` of SGLang 0.5.23), so equal
hashes are equal prefixes. Events carry the first eight bytes of it, as a signed number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_WORD_BYTES = 4


def block_hashes(token_ids: Sequence[int], block_tokens: int) -> npt.NDArray[np.int64]:
    """Of the whole blocks of a prompt, int64 [blocks].

    None where a token id is no unsigned 32-bit number: it is then no tokenizer's, and what is wrong
    with it is the engine's to say.
    """
    whole = len(token_ids) // block_tokens * block_tokens
    try:
        digests = list(block_digests(token_ids[:whole], block_tokens))
    except (OverflowError, ValueError, TypeError):
        digests = []
    firsts = b"".join([digest[:8] for digest in digests])
    return np.frombuffer(firsts, dtype=">i8").astype(np.int64)


def block_digests(
    token_ids: Sequence[int], block_tokens: int, prior: bytes | None = None
) -> Iterator[bytes]:
    """The 32-byte digest of every block in turn, a last one that is not whole included.

    Args:
        prior: digest of the block before the first; None where there is none.

    Raises:
        OverflowError: if a token id is no unsigned 32-bit number.
    """
    data = np.asarray(token_ids, dtype="<u4").tobytes()
    step = block_tokens * _WORD_BYTES
    sha256 = hashlib.sha256
    digest = prior or b""
    for start in range(0, len(data), step):
        digest = sha256(digest + data[start : start + step]).digest()
        yield digest
