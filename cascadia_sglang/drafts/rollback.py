"""Rolls requests and their batch back to the kept tokens of their drafts."""

from array import array
from typing import TYPE_CHECKING, Any

import torch

from cascadia_sglang.drafts.device_copies import to_device
from cascadia_sglang.drafts.draft import Draft

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
    from sglang.srt.managers.scheduler import Scheduler

# Allocators that free a request's last tokens one by one.
_ALLOCATORS = ("TokenToKVPoolAllocator", "PagedTokenToKVPoolAllocator")


def takes_drafts(scheduler: "Scheduler") -> bool:
    """Whether this worker can free tokens again: its KV is one plain pool, in one stage.

    With layer norms in sequence parallel each rank has only a part of the hidden states.
    """
    tree_cache: Any = scheduler.tree_cache
    server_args = scheduler.server_args
    return (
        server_args.pp_size == 1
        and not (server_args.enable_layernorm_sp and server_args.tp_size > 1)
        and type(scheduler.token_to_kv_pool_allocator).__name__ in _ALLOCATORS
        and scheduler.spec_algorithm.is_none()
        and not tree_cache.supports_mamba()
        and not tree_cache.supports_swa()
        and not scheduler.model_config.is_encoder_decoder
    )


def end_ids(request: "Req") -> frozenset[int]:
    """The tokens that end the request's answer."""
    ends = set(request.eos_token_ids or ()) | set(request.sampling_params.stop_token_ids or ())
    tokenizer = request.tokenizer
    if tokenizer is not None:
        ends |= {tokenizer.eos_token_id, *(tokenizer.additional_stop_token_ids or ())}
    return frozenset(end for end in ends if end is not None)


def roll_back(scheduler: "Scheduler", request: "Req", draft: Draft) -> None:
    """Cut a request to its prompt and the kept tokens of its draft; free the KV of the rest."""
    end = draft.prompt_tokens + draft.agreed
    computed = request.extend_end
    page = scheduler.token_to_kv_pool_allocator.page_size
    first_freed = -(-end // page) * page
    if first_freed < computed:
        slots = scheduler.req_to_token_pool.req_to_token[request.kv.req_pool_idx]
        scheduler.token_to_kv_pool_allocator.free(slots[first_freed:computed])
    request.output_ids = array("q", draft.token_ids[: draft.agreed])
    request.full_untruncated_fill_ids = request.full_untruncated_fill_ids[:end]
    request.extend_end = end
    request.kv.kv_committed_len = request.kv.kv_allocated_len = end


def shorten(batch: "ScheduleBatch", cut: list[int]) -> None:
    """Shorten each request of a batch by a number of tokens."""
    # New tensors: the forward that was just launched holds the old ones.
    (on_device_B,) = to_device([cut], torch.device(batch.device))
    batch.seq_lens = batch.seq_lens - on_device_B
    batch.orig_seq_lens = batch.orig_seq_lens - on_device_B.to(batch.orig_seq_lens.dtype)
    if batch.seq_lens_cpu is not None:
        batch.seq_lens_cpu = batch.seq_lens_cpu - torch.tensor(cut)
    if batch.seq_lens_sum is not None:
        batch.seq_lens_sum -= sum(cut)


def failed_on_any_rank(scheduler: "Scheduler", failed: list[bool]) -> list[bool]:
    """Which drafts failed on any rank: all ranks of a worker must end the same requests."""
    if scheduler.server_args.tp_size == 1:
        return failed
    flags = torch.tensor(failed, dtype=torch.int32)
    maximum = torch.distributed.ReduceOp.MAX
    torch.distributed.all_reduce(flags, op=maximum, group=scheduler.tp_cpu_group)
    return [bool(flag) for flag in flags.tolist()]
