"""Request bodies of every route that generates, by what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Body = dict[str, Any]

CITY: dict[str, Any] = {"city": "Paris"}
# One text alone fits each schema, so that an answer under it is known beforehand.
TOOL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "enum": [CITY],
}
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "enum": [{"answer": "dcba"}],
}
ANSWER_TEXT = '{"answer":"dcba"}'
_FORMAT = {"type": "json_schema", "name": "answer", "schema": ANSWER_SCHEMA}
_CHAT_FORMAT = {"name": "answer", "schema": ANSWER_SCHEMA}
_FUNCTION = {"name": "weather", "parameters": TOOL_SCHEMA, "strict": True}


def _native(prompts: list[str], tokens: int, temperature: float) -> Body:
    params = {"temperature": temperature, "max_new_tokens": tokens}
    return {"text": prompts if len(prompts) > 1 else prompts[0], "sampling_params": params}


def _vertex(prompts: list[str], tokens: int, temperature: float) -> Body:
    params = {"temperature": temperature, "max_new_tokens": tokens}
    return {
        "instances": [{"text": prompt} for prompt in prompts],
        "parameters": {"sampling_params": params},
    }


def _chat(prompts: list[str], tokens: int, temperature: float) -> Body:
    messages = [{"role": "user", "content": prompts[0]}]
    common = {"model": "cascadia", "messages": messages}
    return {**common, "max_tokens": tokens, "temperature": temperature}


def _completion(prompts: list[str], tokens: int, temperature: float) -> Body:
    prompt = prompts if len(prompts) > 1 else prompts[0]
    common = {"model": "cascadia", "prompt": prompt}
    return {**common, "max_tokens": tokens, "temperature": temperature}


def _response(prompts: list[str], tokens: int, temperature: float) -> Body:
    common = {"model": "cascadia", "input": prompts[0]}
    return {**common, "max_output_tokens": tokens, "temperature": temperature}


def _ollama_chat(prompts: list[str], tokens: int, temperature: float) -> Body:
    options = {"temperature": temperature, "num_predict": tokens}
    messages = [{"role": "user", "content": prompts[0]}]
    return {"model": "cascadia", "messages": messages, "options": options}


def _ollama_text(prompts: list[str], tokens: int, temperature: float) -> Body:
    options = {"temperature": temperature, "num_predict": tokens}
    return {"model": "cascadia", "prompt": prompts[0], "options": options}


# By route: the body of prompts, the most tokens of an answer, and a temperature.
PLAIN: Mapping[str, Callable[[list[str], int, float], Body]] = {
    "/generate": _native,
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/messages": _chat,
    "/v1/responses": _response,
    "/api/chat": _ollama_chat,
    "/api/generate": _ollama_text,
    "/invocations": _chat,
    "/vertex_generate": _vertex,
}
# By route: what makes the answer one call of the tool.
TOOLS: Mapping[str, Body] = {
    "/v1/chat/completions": {
        "tools": [{"type": "function", "function": _FUNCTION}],
        "tool_choice": "required",
    },
    "/v1/messages": {
        "tools": [{"name": "weather", "input_schema": TOOL_SCHEMA, "strict": True}],
        "tool_choice": {"type": "any"},
    },
    "/v1/responses": {
        "tools": [{"type": "function", **_FUNCTION}],
        "tool_choice": "required",
    },
}
# By route: what makes the answer `ANSWER_TEXT`.
GRAMMARS: Mapping[str, Body] = {
    "/v1/chat/completions": {
        "response_format": {"type": "json_schema", "json_schema": _CHAT_FORMAT}
    },
    "/v1/messages": {"output_config": {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}},
    "/v1/responses": {"text": {"format": _FORMAT}},
    "/api/chat": {"format": ANSWER_SCHEMA},
    "/generate": {"regex": '\\{"answer":"dcba"\\}'},
}
# By route: where the number of samples stands.
SAMPLES: Mapping[str, tuple[str, ...]] = {
    "/generate": ("sampling_params", "n"),
    "/v1/chat/completions": ("n",),
    "/v1/completions": ("n",),
}
BATCHES = ("/generate", "/v1/completions", "/vertex_generate")
STREAMS = tuple(route for route in PLAIN if route != "/vertex_generate")
# A route streams unless it is told otherwise.
STREAMS_BY_ITSELF = ("/api/chat", "/api/generate")

# Headers and body of what every route refuses.
MALFORMED: tuple[tuple[dict[str, str], bytes], ...] = (
    ({}, b'{"model": '),
    ({}, b"[]"),
    ({}, b"{}"),
    ({"x-cascadia-tier": "huge"}, b""),
    ({"x-cascadia-threshold": "two"}, b""),
    ({"x-cascadia-stream": "sometimes"}, b""),
    ({"x-cascadia-deadline-ms": "-5"}, b""),
)
