"""AROUND hook on OpenAIServingTokenize._handle_non_streaming_request: by the tier's tokenizer.

Upstream: gives the tokens of a text or a chat, by the one tokenizer.
We need: that of the tier that `model` names, where tiers have tokenizers or templates of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.trace import named_tier

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import TokenizeRequest
    from sglang.srt.entrypoints.openai.serving_tokenize import OpenAIServingTokenize

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def respond(
        original: Callable[..., Any],
        handler: OpenAIServingTokenize,
        adapted_request: TokenizeRequest,
        request: TokenizeRequest,
        raw_request: Request,
    ) -> Any:
        if not server.voices.is_one:
            tier = named_tier(server.config, handler.tokenizer_manager, request.model, raw_request)
            handler = server.chat_voices.tokenizing(handler, tier)
        return await original(handler, adapted_request, request, raw_request)

    return respond


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_tokenize.OpenAIServingTokenize._handle_non_streaming_request",
    hook_type="around",
    kind="async function",
    parameters=("adapted_request", "request", "raw_request"),
    build=_build,
    reason="a text or a chat becomes tokens by the tokenizer of the tier that is named",
    drop_when="SGLang serves several models from one server",
)
