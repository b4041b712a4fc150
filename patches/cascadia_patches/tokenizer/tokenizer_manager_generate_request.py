"""AROUND hook on TokenizerManager.generate_request: the cascade's door.

Upstream: an async generator that normalises, tokenises and dispatches a request, and yields its
outputs.
We need: the same for the caller, with a climb through the tiers in between; each attempt runs
through the original.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.voices.paused_handler import outputs_for
from cascadia_sglang.sglang_state import OUTPUTS

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.managers.io_struct import EmbeddingReqInput, GenerateReqInput

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def generate_request(
        original: Callable[..., Any],
        _manager: object,
        obj: GenerateReqInput | EmbeddingReqInput,
        request: Request | None = None,
    ) -> AsyncIterator[Any]:
        begun = OUTPUTS.get(obj)
        if begun is None:
            begun = outputs_for(obj)
        if begun is not None:
            return begun
        answer: AsyncIterator[Any] = server.door.answer(original, obj, request)
        return answer

    return generate_request


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.generate_request",
    hook_type="around",
    kind="async generator",
    parameters=("obj", "request"),
    build=_build,
    reason="every route that generates comes through here",
    drop_when="SGLang lets a plugin answer requests",
)
