"""AROUND hook on allocation.assign_req_to_token_pool_func: note cache slots with PyTorch.

Upstream: launches a Triton kernel, except with SGLang's own CPU wheel.
We need: the same on hosts without an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from torch import Tensor


def _build(_served: None) -> Callable[..., None]:
    def assign(
        _original: Callable[..., None],
        req_pool_indices: Tensor,
        req_to_token: Tensor,
        start_offset: Tensor,
        end_offset: Tensor,
        out_cache_loc: Tensor,
        batch_size: int,
    ) -> None:
        from cascadia_sglang.cpu_speculation.cache_slots import assign_slots

        del batch_size
        assign_slots(req_pool_indices, req_to_token, start_offset, end_offset, out_cache_loc)

    return assign


PATCH = PatchSpec(
    target="sglang.srt.mem_cache.allocation.assign_req_to_token_pool_func",
    hook_type="around",
    kind="function",
    parameters=(
        "req_pool_indices",
        "req_to_token",
        "start_offset",
        "end_offset",
        "out_cache_loc",
        "batch_size",
    ),
    build=_build,
    reason="SGLang's ordinary wheel notes the slots of drafts with Triton alone",
    drop_when="SGLang notes the slots of drafts with PyTorch where Triton cannot launch",
)
