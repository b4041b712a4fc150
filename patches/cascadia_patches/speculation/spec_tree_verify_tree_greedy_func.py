"""AROUND hook on spec_tree.verify_tree_greedy_func: verify draft trees with PyTorch.

Upstream: calls the operation that is compiled for the device; raises on any other platform.
We need: the same on hosts without an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from torch import Tensor


def _build(_served: None) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    def verify(
        _original: Callable[..., object],
        predicts: Tensor,
        accept_index: Tensor,
        accept_token_num: Tensor,
        candidates: Tensor,
        retrieve_index: Tensor,
        retrieve_next_token: Tensor,
        retrieve_next_sibling: Tensor,
        target_predict: Tensor,
        topk: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from cascadia_sglang.cpu_speculation.tree_verification import verify_greedily

        del topk
        verify_greedily(
            predicts,
            accept_index,
            accept_token_num,
            candidates,
            retrieve_index,
            retrieve_next_token,
            retrieve_next_sibling,
            target_predict,
        )
        return predicts, accept_index, accept_token_num

    return verify


PATCH = PatchSpec(
    target="sglang.kernels.ops.speculative.spec_tree.verify_tree_greedy_func",
    called_as=("sglang.srt.speculative.eagle_utils.verify_tree_greedy_func",),
    hook_type="around",
    kind="function",
    parameters=(
        "predicts",
        "accept_index",
        "accept_token_num",
        "candidates",
        "retrieve_index",
        "retrieve_next_token",
        "retrieve_next_sibling",
        "target_predict",
    ),
    build=_build,
    reason="SGLang's ordinary wheel verifies draft trees on accelerators alone",
    drop_when="SGLang verifies draft trees with PyTorch where it has no compiled operation",
)
