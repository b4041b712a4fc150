"""A tokenised prompt as the prefix caches see it: the hashes of its blocks."""

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from cascadia_sglang.prefix.block_hashes import block_hashes, hash_parts, joined_hashes

# A shorter prompt is hashed within half a millisecond, in blocks of 16 tokens.
LONG_TOKENS = 8_192


class Prompt:
    """Token ids, with the block hashes of each block size computed once, when first asked for."""

    __slots__ = ("_hashes", "token_ids")

    def __init__(self, token_ids: Sequence[int]) -> None:
        self.token_ids = token_ids
        self._hashes: dict[int, npt.NDArray[np.int64]] = {}

    @property
    def is_long(self) -> bool:
        """Whether its hashes take longer than other requests should wait."""
        return len(self.token_ids) >= LONG_TOKENS

    async def prepare(self, block_sizes: Iterable[int]) -> None:
        """Hash it in parts, between which the event loop serves other requests."""
        # The check of its ids, which comes before, and its dispatch, which follows, take as long.
        await asyncio.sleep(0)
        for block_tokens in block_sizes:
            if block_tokens in self._hashes:
                continue
            parts = []
            for part in hash_parts(self.token_ids, block_tokens):
                parts.append(part)
                await asyncio.sleep(0)
            self._hashes[block_tokens] = joined_hashes(parts)

    def hashes(self, block_tokens: int) -> npt.NDArray[np.int64]:
        """Of the whole blocks, int64 [blocks]."""
        hashes = self._hashes.get(block_tokens)
        if hashes is None:
            hashes = self._hashes[block_tokens] = block_hashes(self.token_ids, block_tokens)
        return hashes
