"""A tokenised prompt as the prefix caches see it: the hashes of its blocks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascadia_sglang.prefix.block_hashes import block_hashes


class Prompt:
    """Token ids, with the block hashes of each block size computed once, when first asked for."""

    __slots__ = ("_hashes", "token_ids")

    def __init__(self, token_ids: Sequence[int]) -> None:
        self.token_ids = token_ids
        self._hashes: dict[int, npt.NDArray[np.int64]] = {}

    def hashes(self, block_tokens: int) -> npt.NDArray[np.int64]:
        """Of the whole blocks, int64 [blocks]."""
        hashes = self._hashes.get(block_tokens)
        if hashes is None:
            hashes = self._hashes[block_tokens] = block_hashes(self.token_ids, block_tokens)
        return hashes
