"""AROUND hook on TokenizerManager._validate_one_request: the limits of the attempt's tier.

Upstream: compares the prompt with the context length of the one model.
We need: the context length of the worker that the attempt goes to. The function is synchronous,
so the manager's own value is put back before anyone else reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import EmbeddingReqInput, GenerateReqInput
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def validate(
        original: Callable[..., None],
        manager: TokenizerManager,
        obj: GenerateReqInput | EmbeddingReqInput,
        input_ids: list[int] | None,
    ) -> None:
        worker = server.pool.worker_of(obj.rid)
        if worker is None or worker.limits is None:
            original(manager, obj, input_ids)
            return
        server_context_len = manager.context_len
        manager.context_len = worker.limits.context_tokens
        try:
            original(manager, obj, input_ids)
        finally:
            manager.context_len = server_context_len

    return validate


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._validate_one_request",
    hook_type="around",
    kind="function",
    parameters=("obj", "input_ids"),
    build=_build,
    reason="tiers differ in context length",
    drop_when="SGLang validates a request against the worker it goes to",
)
