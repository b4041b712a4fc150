"""Ollama's routes, answered by SGLang's OpenAI handlers.

SGLang's own Ollama handler loses the last piece of every stream, knows no errors, no tools and no
reasoning, and drops options. Its OpenAI handlers have all of it.
"""

import json
import os
from typing import TYPE_CHECKING, Any

import fastapi
from fastapi.responses import JSONResponse, StreamingResponse

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.clients.ollama_answer import Answer, encoded, lines
from cascadia_sglang.http.clients.ollama_models import model_routes
from cascadia_sglang.http.clients.ollama_request import (
    ChatBody,
    GenerateBody,
    chat_request,
    generate_request,
    read_body,
)
from cascadia_sglang.http.openapi import request_body
from cascadia_sglang.http.running_cascade import RunningCascade
from cascadia_sglang.http.status import model_card
from cascadia_sglang.http.trace import named_tier, refusal

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

# Paths that the operator may have changed in SGLang's environment.
_CHAT = os.environ.get("SGLANG_OLLAMA_CHAT_ROUTE", "/api/chat")
_GENERATE = os.environ.get("SGLANG_OLLAMA_GENERATE_ROUTE", "/api/generate")
_NDJSON = "application/x-ndjson"


def ollama_routes(
    server: RunningCascade, manager: "TokenizerManager", created: int
) -> fastapi.APIRouter:
    """The routes, for SGLang's application.

    Args:
        created: when the server started, in seconds since 1970.
    """
    router = model_routes(server, manager, created)

    def asked_handler(serving: Any, body: Any, request: fastapi.Request) -> Any:
        """The chat handler of the tier that is named, whose parser and template count."""
        if server.voices.is_one:
            return serving
        tier = named_tier(server.config, manager, body.model, request)
        return server.chat_voices.chat_of(serving, tier)

    @router.post(_CHAT, openapi_extra=request_body(ChatBody))
    async def chat(request: fastapi.Request) -> Any:
        try:
            body = read_body(ChatBody, await request.body())
            serving = request.app.state.openai_serving_chat
            openai_request = chat_request(body, asked_handler(serving, body, request))
        except RequestError as error:
            raise refusal(request, error) from None
        return await _answer(serving, openai_request, request, Answer(body.model, is_chat=True))

    @router.post(_GENERATE, openapi_extra=request_body(GenerateBody))
    async def generate(request: fastapi.Request) -> Any:
        serving = request.app.state.openai_serving_chat
        try:
            body = read_body(GenerateBody, await request.body())
            if not (body.prompt or "").strip():
                served_name = manager.served_model_name
                model_card(body.model, server.config, server.pool, server.voices, served_name, 0)
                return _loaded(body)
            openai_request = generate_request(body, asked_handler(serving, body, request))
        except RequestError as error:
            raise refusal(request, error) from None
        if body.raw:
            serving = request.app.state.openai_serving_completion
        return await _answer(serving, openai_request, request, Answer(body.model, is_chat=False))

    return router


async def _answer(
    serving: Any, openai_request: Any, request: fastapi.Request, answer: Answer
) -> Any:
    response = await serving.handle_request(openai_request, request)
    if isinstance(response, StreamingResponse):
        return StreamingResponse(
            lines(response.body_iterator, answer),
            media_type=_NDJSON,
            background=response.background,
        )
    if isinstance(response, fastapi.Response):
        error = json.loads(bytes(response.body))
        raise refusal(request, RequestError(response.status_code, error["message"]))
    return JSONResponse(answer.whole(response.model_dump()))


def _loaded(body: GenerateBody) -> fastapi.Response:
    """The answer to a request without a prompt, by which a client asks whether a model is there."""
    answer = Answer(body.model, is_chat=False)
    line = answer.whole({"choices": [{"text": ""}]}) | {"done_reason": "load"}
    media_type = "application/json" if body.stream is False else _NDJSON
    return fastapi.Response(encoded(line), media_type=media_type)
