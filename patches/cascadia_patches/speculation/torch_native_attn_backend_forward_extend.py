"""AROUND hook on TorchNativeAttnBackend.forward_extend: attention of draft trees.

Upstream: causal attention of prompts; a draft tree's mask is not read.
We need: every node of a draft tree to see its ancestors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
    from sglang.srt.layers.radix_attention import RadixAttention
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch
    from torch import Tensor


def _build(_served: None) -> Callable[..., Any]:
    def forward_extend(
        original: Callable[..., Any],
        backend: TorchNativeAttnBackend,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        layer: RadixAttention,
        forward_batch: ForwardBatch,
        save_kv_cache: bool = True,
    ) -> Any:
        if not forward_batch.forward_mode.is_target_verify():
            return original(backend, q, k, v, layer, forward_batch, save_kv_cache)
        from sglang.srt.mem_cache.memory_pool import KVWriteLoc

        from cascadia_sglang.cpu_speculation.verify_attention import tree_attention

        if save_kv_cache and k is not None and v is not None:
            slots = KVWriteLoc(forward_batch.out_cache_loc, backend.swa_out_cache_loc)
            backend.token_to_kv_pool.set_kv_buffer(layer, slots, k, v)
        return tree_attention(backend, q, layer, forward_batch)

    return forward_extend


PATCH = PatchSpec(
    target="sglang.srt.layers.attention.torch_native_backend.TorchNativeAttnBackend.forward_extend",
    hook_type="around",
    kind="function",
    parameters=("q", "k", "v", "layer", "forward_batch", "save_kv_cache"),
    build=_build,
    reason="SGLang's attention in PyTorch knows no draft trees",
    drop_when="SGLang's attention in PyTorch reads the mask of a draft tree",
)
