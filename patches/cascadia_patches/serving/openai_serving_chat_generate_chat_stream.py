"""AROUND hook on OpenAIServingChat._generate_chat_stream: the answering tier's parsers.

Upstream: asks the engine, and makes events of its outputs by the one model's parsers.
We need: the parsers and the template of the tier that answers, which is known with the first
output. Anthropic's messages come through it too.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
    from sglang.srt.managers.io_struct import GenerateReqInput

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def stream(
        original: Callable[..., Any],
        handler: OpenAIServingChat,
        adapted_request: GenerateReqInput,
        request: ChatCompletionRequest,
        raw_request: Request,
    ) -> Any:
        if server.voices.is_one:
            return original(handler, adapted_request, request, raw_request)
        return by_voice(original, handler, adapted_request, request, raw_request)

    async def by_voice(
        original: Callable[..., Any], handler: Any, adapted: Any, request: Any, raw_request: Any
    ) -> AsyncGenerator[str, None]:
        answering = await server.chat_voices.answering(handler, adapted, request, raw_request)
        async with contextlib.aclosing(original(*answering, raw_request)) as events:
            async for event in events:
                yield event

    return stream


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_chat.OpenAIServingChat._generate_chat_stream",
    hook_type="around",
    kind="async generator",
    parameters=("adapted_request", "request", "raw_request"),
    build=_build,
    reason="an answer is read by the parsers of the tier that gives it",
    drop_when="SGLang serves several models from one server",
)
