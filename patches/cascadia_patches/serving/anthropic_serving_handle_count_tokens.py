"""AROUND hook on AnthropicServing.handle_count_tokens: the tokens of the tier that is named.

Upstream: counts the tokens of a message by the one template and tokenizer.
We need: those of the tier that `model` names, where tiers have templates or tokenizers of their
own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.trace import named_tier

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.anthropic.protocol import AnthropicCountTokensRequest
    from sglang.srt.entrypoints.anthropic.serving import AnthropicServing

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def count(
        original: Callable[..., Any],
        serving: AnthropicServing,
        request: AnthropicCountTokensRequest,
        raw_request: Request,
    ) -> Any:
        if not server.voices.is_one:
            manager = serving.openai_serving_chat.tokenizer_manager
            tier = named_tier(server.config, manager, request.model, raw_request)
            serving = server.chat_voices.counting(serving, tier)
        return await original(serving, request, raw_request)

    return count


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.anthropic.serving.AnthropicServing.handle_count_tokens",
    hook_type="around",
    kind="async function",
    parameters=("request", "raw_request"),
    build=_build,
    reason="a message is counted in the tokens of the tier that is named",
    drop_when="SGLang serves several models from one server",
)
