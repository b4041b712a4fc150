"""AROUND hook on OpenAIServingCompletion._convert_to_internal_request: note the model's name.

Upstream: turns an OpenAI request into the engine's own, which has no model name. Runs in a thread.
We need: the tier that `model` pins (completions); a name that is neither a tier nor the
cascade is a 404.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.trace import with_noted_model

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import CompletionRequest
    from sglang.srt.entrypoints.openai.serving_completions import OpenAIServingCompletion

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    def convert(
        original: Callable[..., Any],
        handler: OpenAIServingCompletion,
        request: CompletionRequest,
        raw_request: Request | None = None,
    ) -> Any:
        request = with_noted_model(server.config, handler, request, raw_request)
        return original(handler, request, raw_request)

    return convert


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_completions.OpenAIServingCompletion._convert_to_internal_request",
    hook_type="around",
    kind="function",
    parameters=("request", "raw_request"),
    build=_build,
    reason="the model's name is lost in the engine's own request",
    drop_when="SGLang keeps the model's name on its requests",
)
