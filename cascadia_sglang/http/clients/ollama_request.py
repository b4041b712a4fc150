"""Ollama's requests in terms of SGLang's OpenAI handlers.

Fields and options that change the answer are translated or refused; those that only tune Ollama's
own runtime (`keep_alive`, `num_ctx`, `num_gpu`, `mirostat` and the like) are taken and left.
Ollama's documentation of its API: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pydantic
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, CompletionRequest

from cascadia_sglang.errors import RequestError

_LATEST = ":latest"
# Ollama's option, and the field of SGLang's OpenAI requests.
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repetition_penalty",
}


class Message(msgspec.Struct, frozen=True):
    """One message of `/api/chat`."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_name: str | None = None


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    stream: bool | None = None  # None streams
    format: str | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ChatBody(_Common, frozen=True, kw_only=True):
    """Body of `/api/chat`."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None


class GenerateBody(_Common, frozen=True, kw_only=True):
    """Body of `/api/generate`."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[Any] | None = None


def read_body(kind: type[Any], body: bytes) -> Any:
    """The JSON body, whatever the content type: `curl` sends that of a form.

    Raises:
        RequestError: 400 that names the field.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"body: {error}") from None


def chat_request(body: ChatBody, serving: Any) -> ChatCompletionRequest:
    """A chat as SGLang's chat handler takes it.

    Args:
        serving: that handler.

    Raises:
        RequestError: 400 for what is wrong or not supported; names the field.
    """
    if not body.messages:
        raise RequestError(400, "messages is empty", "messages")
    if any(message.images for message in body.messages):
        raise RequestError(400, "images: the models of this server take text alone", "images")
    request = _build(
        ChatCompletionRequest,
        _common_fields(body)
        | {
            "messages": _messages(body.messages),
            "tools": body.tools or None,
            "logprobs": bool(body.logprobs),
            "top_logprobs": body.top_logprobs if body.logprobs else None,
        },
    )
    if body.think is not None:
        _set_thinking(request, body.think, serving)
    return request


def generate_request(body: GenerateBody, serving: Any) -> ChatCompletionRequest | CompletionRequest:
    """A prompt as SGLang's handlers take it: as one message of a chat, or as it is where `raw`.

    Args:
        serving: SGLang's chat handler.

    Raises:
        RequestError: 400 for what is wrong or not supported; names the field.
    """
    for name in ("suffix", "template", "context", "images"):
        if getattr(body, name):
            raise RequestError(400, f"{name} is not supported", name)
    if not body.raw:
        system = [Message("system", body.system)] if body.system else []
        messages = [*system, Message("user", body.prompt)]
        common = {name: getattr(body, name) for name in _Common.__struct_fields__}
        return chat_request(ChatBody(messages=messages, **common), serving)
    for name in ("think", "logprobs"):
        if getattr(body, name):
            raise RequestError(400, f"{name} is not supported with raw", name)
    prompt = f"{body.system}\n\n{body.prompt}" if body.system else body.prompt
    fields = _common_fields(body)
    max_tokens = fields.pop("max_tokens")
    request = _build(CompletionRequest, fields | {"prompt": prompt})
    # The field is typed a number, and the engine takes none for "up to the context".
    request.max_tokens = max_tokens
    return request


def _common_fields(body: _Common) -> dict[str, Any]:
    is_stream = body.stream is not False
    return {
        "model": body.model.removesuffix(_LATEST),
        "stream": is_stream,
        "stream_options": {"include_usage": True} if is_stream else None,
        "response_format": _response_format(body.format),
        **_option_fields(body.options or {}),
    }


def _option_fields(options: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for option, field in _NUMBERS.items():
        value = options.get(option)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong(option, value, "a number")
            fields[field] = value
    top_k = _whole(options, "top_k")
    if top_k is not None:
        fields["top_k"] = top_k if top_k > 0 else -1
    seed = _whole(options, "seed")
    if seed is not None and seed >= 0:
        fields["seed"] = seed
    limit = _whole(options, "num_predict")
    if limit is not None and limit < -2:
        raise _wrong("num_predict", limit, "a number of tokens, or -1 or -2 for no limit")
    fields["max_tokens"] = None if limit is None or limit < 0 else limit
    stop = options.get("stop")
    if stop is not None:
        texts = [stop] if isinstance(stop, str) else stop
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _wrong("stop", stop, "a text or a list of texts")
        fields["stop"] = texts or None
    return fields


def _whole(options: dict[str, Any], option: str) -> int | None:
    value = options.get(option)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(option, value, "a whole number")
    return value


def _wrong(option: str, value: Any, allowed: str) -> RequestError:
    field = f"options.{option}"
    return RequestError(400, f"{field} is {value!r}, allowed: {allowed}", field)


def _response_format(form: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if not form:
        return None
    if isinstance(form, dict):
        return {"type": "json_schema", "json_schema": {"name": "format", "schema": form}}
    if form != "json":
        raise RequestError(400, f"format is {form!r}, allowed: json, a JSON schema", "format")
    return {"type": "json_object"}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """OpenAI's messages: there a tool's result names the id of its call, here the tool at most."""
    waiting: list[tuple[str, str]] = []  # ids and names of calls without a result
    written = []
    for index, message in enumerate(messages):
        fields: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.thinking:
            fields["reasoning_content"] = message.thinking
        if message.tool_calls:
            fields["tool_calls"] = calls = _tool_calls(message.tool_calls, index)
            waiting += [(call["id"], call["function"]["name"]) for call in calls]
        if message.role == "tool":
            named = [call for call in waiting if call[1] == message.tool_name] or waiting
            fields["tool_call_id"] = named[0][0] if named else "call"
            if named:
                waiting.remove(named[0])
        written.append(fields)
    return written


def _tool_calls(calls: list[dict[str, Any]], message_index: int) -> list[dict[str, Any]]:
    written = []
    for number, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            param = f"messages[{message_index}].tool_calls[{number}].function"
            raise RequestError(400, f"{param} is {function!r}, needed: a name", param)
        arguments = function.get("arguments") or {}
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        written.append(
            {
                "id": f"call_{message_index}_{number}",
                "type": "function",
                "function": {"name": function["name"], "arguments": text},
            }
        )
    return written


def _set_thinking(request: ChatCompletionRequest, think: bool | str, serving: Any) -> None:
    if isinstance(think, str) and think not in ("low", "medium", "high"):
        raise RequestError(400, f"think is {think!r}, allowed: true, false, low, medium, high")
    if think and not serving.reasoning_parser:
        raise RequestError(400, "think: this server has no --reasoning-parser", "think")
    try:
        serving.apply_reasoning_enabled(request, bool(think))
    except ValueError as error:
        raise RequestError(400, f"think: {error}", "think") from None
    if isinstance(think, str):
        request.reasoning_effort = think


def _build(kind: type[Any], fields: dict[str, Any]) -> Any:
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RequestError(400, f"{field}: {first['msg']}", field) from None
