"""AROUND hook on OpenAIServingChat._handle_non_streaming_request: the answering tier's parsers.

Upstream: asks the engine, and makes a response of the answer by the one model's parsers.
We need: the parsers and the template of the tier that answered. Anthropic's messages come through
it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
    from sglang.srt.managers.io_struct import GenerateReqInput

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def respond(
        original: Callable[..., Any],
        handler: OpenAIServingChat,
        adapted_request: GenerateReqInput,
        request: ChatCompletionRequest,
        raw_request: Request,
    ) -> Any:
        answering = (handler, adapted_request, request)
        if not server.voices.is_one:
            answering = await server.chat_voices.answering(*answering, raw_request)
        return await original(*answering, raw_request)

    return respond


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_chat.OpenAIServingChat._handle_non_streaming_request",
    hook_type="around",
    kind="async function",
    parameters=("adapted_request", "request", "raw_request"),
    build=_build,
    reason="an answer is read by the parsers of the tier that gave it",
    drop_when="SGLang serves several models from one server",
)
