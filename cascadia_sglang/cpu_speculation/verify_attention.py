"""Attention of draft trees: a node sees its request's tokens so far, and its ancestors.

Shape legend: B requests, N nodes of a request's tree, S tokens of a request before its tree, K
keys (S + N), H query heads, G key heads, D size of a head.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
    from sglang.srt.layers.radix_attention import RadixAttention
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch


def tree_attention(
    backend: "TorchNativeAttnBackend",
    query: torch.Tensor,
    layer: "RadixAttention",
    forward_batch: "ForwardBatch",
) -> torch.Tensor:
    """The attention output of a batch of draft trees, whose keys and values are in the cache.

    Args:
        query: [B * N, H * D].

    Returns:
        [B * N, H * D of the values].
    """
    verify_input = forward_batch.spec_info
    nodes: int = verify_input.draft_token_num
    query_THD = query.view(-1, layer.tp_q_head_num, layer.qk_head_dim)
    output_THD = query.new_empty(len(query_THD), layer.tp_q_head_num, layer.v_head_dim)
    keys_MGD = backend.token_to_kv_pool.get_key_buffer(layer.layer_id)
    values_MGD = backend.token_to_kv_pool.get_value_buffer(layer.layer_id)
    rows, lengths = forward_batch.req_pool_indices.tolist(), forward_batch.seq_lens.tolist()
    first_bit = 0
    for request, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        request_rows = slice(request * nodes, (request + 1) * nodes)
        slots_K = backend.req_to_token_pool.req_to_token[row, : length + nodes]
        bits = nodes * (length + nodes)
        sees_NK = verify_input.custom_mask[first_bit : first_bit + bits].view(nodes, length + nodes)
        first_bit += bits
        if layer.sliding_window_size is not None and layer.sliding_window_size > -1:
            positions_N = verify_input.positions[request_rows]
            sees_NK = sees_NK & _in_window(positions_N, length, layer.sliding_window_size)
        output_HND = scaled_dot_product_attention(
            query_THD[request_rows].transpose(0, 1).unsqueeze(0),
            keys_MGD[slots_K].transpose(0, 1).unsqueeze(0).to(query.dtype),
            values_MGD[slots_K].transpose(0, 1).unsqueeze(0).to(query.dtype),
            attn_mask=sees_NK,
            scale=layer.scaling,
            enable_gqa=layer.tp_q_head_num != layer.tp_k_head_num,
        ).squeeze(0)
        output_THD[request_rows] = output_HND.transpose(0, 1)
    return output_THD.flatten(1)


def _in_window(positions_N: torch.Tensor, length: int, window: int) -> torch.Tensor:
    """Keys that lie at most a window before each node, [N, K]."""
    before_S = torch.arange(length, device=positions_N.device)
    positions_K = torch.cat((before_S, positions_N))
    return positions_K >= positions_N.unsqueeze(-1) - window
