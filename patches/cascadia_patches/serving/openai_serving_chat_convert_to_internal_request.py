"""AROUND hook on OpenAIServingChat._convert_to_internal_request: the model's name, and its voice.

Upstream: turns an OpenAI request into the engine's own, which has no model name and no tools. Runs
in a thread.
We need: the tier that `model` pins (chat completions; Anthropic's messages come through it too),
and a prompt in that tier's voice. A name that is neither a tier nor the cascade is a 404. Whether
SGLang looks for tool calls in the answer: its parsers read a stream token by token. And
`prediction`, which SGLang does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.trace import note_prediction, with_noted_model

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def convert(
        original: Callable[..., Any],
        handler: OpenAIServingChat,
        request: ChatCompletionRequest,
        raw_request: Request | None = None,
    ) -> Any:
        request = with_noted_model(server.config, handler, request, raw_request)
        if raw_request is not None:
            note_prediction(raw_request)
        return server.chat_voices.converted(original, handler, request, raw_request)

    return convert


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_chat.OpenAIServingChat._convert_to_internal_request",
    hook_type="around",
    kind="function",
    parameters=("request", "raw_request"),
    build=_build,
    reason="the engine's own request lacks the model's name and the tools, and has one template",
    drop_when="SGLang keeps the chat on its requests, and renders it for the model that is asked",
)
