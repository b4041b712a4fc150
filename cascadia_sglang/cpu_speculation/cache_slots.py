"""Slots of the KV cache for the tokens of draft trees.

Shape legend: B requests, N nodes of a request's tree, D most nodes of an accepted path, M slots.
"""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sglang.srt.mem_cache.memory_pool import KVCache


def assign_slots(
    req_pool_indices: torch.Tensor,
    req_to_token: torch.Tensor,
    start_offset: torch.Tensor,
    end_offset: torch.Tensor,
    out_cache_loc: torch.Tensor,
) -> None:
    """SGLang's `assign_req_to_token_pool`: note the slots of each request's next tokens.

    Args:
        req_pool_indices: a request's row in `req_to_token`, [B].
        req_to_token: written, the slot of each token by row.
        start_offset: the first token of each request that gets a slot, [B]; `end_offset` ends them.
        out_cache_loc: the slots of all requests, one after the other, [M].
    """
    first = 0
    for row, start, end in _spans(req_pool_indices, start_offset, end_offset):
        slots = out_cache_loc[first : first + end - start]
        req_to_token[row, start:end] = slots.to(req_to_token.dtype)
        first += end - start


def slots_of(
    req_pool_indices: torch.Tensor,
    req_to_token: torch.Tensor,
    start_offset: torch.Tensor,
    end_offset: torch.Tensor,
    batch_size: int,
    draft_token_num: int,
    device: torch.device | str,
) -> torch.Tensor:
    """SGLang's `assign_extend_cache_locs`: the noted slots, of all requests one after the other.

    Returns:
        int64, [B * N].
    """
    del batch_size, draft_token_num
    spans = _spans(req_pool_indices, start_offset, end_offset)
    slots = [req_to_token[row, start:end] for row, start, end in spans]
    return torch.cat(slots).to(device=device, dtype=torch.int64)


def move_accepted(
    out_cache_loc: torch.Tensor,
    accept_index: torch.Tensor,
    num_correct_drafts: torch.Tensor,
    kv_cache: "KVCache",
) -> None:
    """Move what accepted nodes have in the KV cache to the first slots of their request.

    Args:
        out_cache_loc: slots of all nodes, [B * N].
        accept_index: the accepted nodes of each request among all of them, [B, D].
        num_correct_drafts: accepted nodes of each request without the root, [B].
    """
    nodes = len(out_cache_loc) // len(accept_index)
    from_slots, to_slots = [], []
    for request, count in enumerate((num_correct_drafts + 1).tolist()):
        from_slots.append(out_cache_loc[accept_index[request, :count].long()])
        to_slots.append(out_cache_loc[request * nodes : request * nodes + count])
    kv_cache.move_kv_cache(torch.cat(to_slots), torch.cat(from_slots))


def _spans(
    req_pool_indices: torch.Tensor, start_offset: torch.Tensor, end_offset: torch.Tensor
) -> list[tuple[int, int, int]]:
    bounds = (req_pool_indices.tolist(), start_offset.tolist(), end_offset.tolist())
    return list(zip(*bounds, strict=True))
