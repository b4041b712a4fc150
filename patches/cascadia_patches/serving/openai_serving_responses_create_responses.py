"""AROUND hook on OpenAIServingResponses.create_responses: names, items, tools, a late opening.

Upstream: answers the Responses API with engine requests of its own, which have no model name and
no tools; a name other than the server's is refused. So are input items that agents send, such as
`additional_tools`. A stream begins before the engine is asked.
We need: the tier that `model` pins; a name that is neither a tier nor the cascade is a 404. Items
that agents send are taken or left out. Whether SGLang looks for tool calls in the answer: its
parsers read a stream token by token. The status and the headers of a stream wait until a tier has
answered or refused. The prompt and the response are those of the voice that answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.http.clients.opening_events import with_answer
from cascadia_sglang.http.clients.responses_items import with_known_items
from cascadia_sglang.http.trace import note_calls, note_model

if TYPE_CHECKING:
    from fastapi import Request
    from sglang.srt.entrypoints.openai.protocol import ResponsesRequest
    from sglang.srt.entrypoints.openai.serving_responses import OpenAIServingResponses

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def note_and_answer(
        original: Callable[..., Any],
        handler: OpenAIServingResponses,
        request: ResponsesRequest,
        raw_request: Request | None = None,
    ) -> Any:
        request = with_known_items(request)
        if raw_request is not None:
            note_model(server.config, handler, request.model, raw_request)
            note_calls(raw_request, bool(request.tools) and request.tool_choice != "none")
        # It would refuse every name but its own.
        served = handler.tokenizer_manager.served_model_name
        request = request.model_copy(update={"model": served})
        answer = await server.responses_voices.create(original, handler, request, raw_request)
        is_stream = inspect.isasyncgen(answer)
        return with_answer(answer) if is_stream else answer

    return note_and_answer


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.openai.serving_responses.OpenAIServingResponses.create_responses",
    hook_type="around",
    kind="async function",
    parameters=("request", "raw_request"),
    build=_build,
    reason="model and tools are lost, agents' items are refused, and a stream begins too early",
    drop_when="SGLang keeps the model's name and the tools on its requests",
)
