"""AROUND hook on spec_utils.move_accept_tokens_to_target_kvcache: find slots with PyTorch.

Upstream: finds the slots of accepted tokens with Triton kernels, except with SGLang's own CPU
wheel, and has the KV pool move them.
We need: the same on hosts without an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.mem_cache.allocator import BaseTokenToKVPoolAllocator
    from torch import Tensor


def _build(_served: None) -> Callable[..., None]:
    def move(
        _original: Callable[..., None],
        batch: ScheduleBatch,
        accept_index: Tensor,
        num_correct_drafts: Tensor,
        token_to_kv_pool_allocator: BaseTokenToKVPoolAllocator,
    ) -> None:
        from cascadia_sglang.cpu_speculation.cache_slots import move_accepted

        kv_cache = token_to_kv_pool_allocator.get_kvcache()
        move_accepted(batch.out_cache_loc, accept_index, num_correct_drafts, kv_cache)

    return move


PATCH = PatchSpec(
    target="sglang.srt.speculative.spec_utils.move_accept_tokens_to_target_kvcache",
    called_as=("sglang.srt.speculative.ngram_worker.move_accept_tokens_to_target_kvcache",),
    hook_type="around",
    kind="function",
    parameters=("batch", "accept_index", "num_correct_drafts", "token_to_kv_pool_allocator"),
    build=_build,
    reason="SGLang's ordinary wheel finds the slots of accepted tokens with Triton alone",
    drop_when="SGLang finds the slots of accepted tokens with PyTorch where Triton cannot launch",
)
