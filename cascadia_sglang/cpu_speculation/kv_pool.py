"""SGLang's KV pool with rows that are moved by PyTorch; SGLang moves them with Triton."""

from typing import Any

import torch
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool, move_kv_cache_native


class HostKvPool(MHATokenToKVPool):
    """Keys and values in the host's memory, whose rows can be moved.

    SGLang's `SGLANG_NATIVE_MOVE_KV_CACHE` chooses the same move, but launches Triton's once at the
    start nevertheless.
    """

    def __init__(self, *args: Any, enable_kv_cache_copy: bool = False, **options: Any) -> None:
        del enable_kv_cache_copy
        super().__init__(*args, enable_kv_cache_copy=False, **options)

    def _move_kv_cache_impl(self, tgt_loc: torch.Tensor, src_loc: torch.Tensor) -> None:
        move_kv_cache_native(self.k_buffer, self.v_buffer, tgt_loc, src_loc)
