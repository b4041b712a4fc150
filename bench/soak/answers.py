"""Reads the answer of any route, whole or streamed: its texts, how each ended, and its tier."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CUT, ENDED, ABORTED = "cut", "ended", "aborted"
_FINISHES = {
    **dict.fromkeys(("stop", "end_turn", "tool_calls", "tool_use", "completed"), ENDED),
    **dict.fromkeys(("length", "max_tokens", "incomplete"), CUT),
    "abort": ABORTED,
}

_STATUS = re.compile(r"[45]\d\d: ")
# Anthropic's errors have a type and no number.
_ANTHROPIC_STATUS = {
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 503,
    "timeout_error": 504,
}


class BrokenAnswerError(Exception):
    """An answer that no client could read, or that ended more or less than once; one line."""


class StreamEndedError(Exception):
    """A stream that ended with an error event; the HTTP status that it names, or 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of an answer, `CUT`, `ENDED` or `ABORTED`; the tier where the answer names it."""

    text: str
    finish: str
    tier: str | None = None


def read_whole(route: str, content: bytes) -> list[Choice]:
    """The choices of a whole answer.

    Raises:
        BrokenAnswerError: if it is no answer of this route.
    """
    try:
        reply = json.loads(content)
        return [_choice(*parts) for parts in _WHOLE[route](reply)]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BrokenAnswerError(f"{type(error).__name__} {error}: {content[:200]!r}") from error


def read_stream(route: str, content: bytes) -> list[Choice]:
    """The choices of a stream that has ended.

    Raises:
        BrokenAnswerError: if it did not end, ended twice, or took back what it had said.
        StreamEndedError: if it ended with one error.
    """
    draft = _Draft()
    try:
        lines, is_over = _events(route, content.decode())
        for event in lines:
            if draft.error is not None:
                raise BrokenAnswerError("an event after the error")
            error = _error_of(event)
            if error is None:
                _STREAMED[route](draft, event)
            else:
                draft.error = error
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BrokenAnswerError(f"{type(error).__name__} {error}: {content[-200:]!r}") from error
    if draft.error is not None:
        raise draft.error
    if not is_over or not draft.finishes or draft.texts.keys() - draft.finishes.keys():
        raise BrokenAnswerError(f"no end: {content[-200:]!r}")
    return [draft.choice(index) for index in sorted(draft.finishes)]


def error_status(status: int, content: bytes) -> int:
    """The status of a refused request.

    Raises:
        BrokenAnswerError: if the body does not say why.
    """
    try:
        reply = json.loads(content)
        is_told = bool(reply.get("error") or reply.get("message"))
    except (ValueError, AttributeError):
        is_told = False
    if not is_told:
        raise BrokenAnswerError(f"status {status} without a reason: {content[:200]!r}")
    return status


@dataclass(slots=True)
class _Draft:
    """What a stream has said so far, by choice."""

    texts: dict[int, str] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    tiers: dict[int, str | None] = field(default_factory=dict)
    error: StreamEndedError | None = None

    def add(self, index: int, text: str) -> None:
        if text and index in self.finishes:
            raise BrokenAnswerError("text after the end")
        self.texts[index] = self.texts.get(index, "") + text

    def end(self, index: int, finish: str | None, tier: str | None = None) -> None:
        if finish is None:
            return
        if index in self.finishes:
            raise BrokenAnswerError("it ended twice")
        self.finishes[index], self.tiers[index] = finish, tier

    def choice(self, index: int) -> Choice:
        return _choice(self.texts.get(index, ""), self.finishes[index], self.tiers[index])


def _choice(text: str, finish: str, tier: str | None = None) -> Choice:
    return Choice(text, _FINISHES[finish], tier)


def _events(route: str, text: str) -> tuple[list[Any], bool]:
    """The events of a stream, without signs of life; and whether its last one came."""
    if route.startswith("/api/"):
        frames = [json.loads(line) for line in text.splitlines() if line]
        return frames, bool(frames) and (frames[-1].get("done") is True or "error" in frames[-1])
    lines = [line[len("data: ") :] for line in text.splitlines() if line.startswith("data: ")]
    is_over = bool(lines) and lines[-1] == "[DONE]"
    events = [json.loads(line) for line in (lines[:-1] if is_over else lines)]
    if not is_over and events:
        is_over = events[-1].get("type") in (
            *("message_stop", "error", "response.completed", "response.incomplete"),
            "response.failed",
        )
    return [event for event in events if event.get("type") != "ping"], is_over


def _error_of(event: Any) -> StreamEndedError | None:
    """The error that an event tells, in any route's shape."""
    error = event.get("error")
    if event.get("type") == "response.failed":
        error = event["response"]["error"]
    if not error:
        return None
    if isinstance(error, str):
        return StreamEndedError(0, error)
    code, message = error.get("code", _ANTHROPIC_STATUS.get(error.get("type"))), error["message"]
    # SGLang's failed response has the status in its message alone.
    if not isinstance(code, int):
        code = int(message[:3]) if _STATUS.match(message) else 0
    return StreamEndedError(code, message)


Parts = tuple[str, str] | tuple[str, str, str | None]


def _native_whole(reply: Any) -> Iterable[Parts]:
    for output in reply if isinstance(reply, list) else [reply]:
        meta = output["meta_info"]
        yield output["text"], meta["finish_reason"]["type"], _native_tier(meta)


def _native_tier(meta: Mapping[str, Any]) -> str | None:
    tier: str | None = meta.get("cascadia", {}).get("tier")
    return tier


def _chat_whole(reply: Any) -> Iterable[Parts]:
    for choice in reply["choices"]:
        message = choice["message"]
        calls = message.get("tool_calls") or []
        text = "".join(call["function"]["arguments"] for call in calls)
        yield text or message["content"] or "", choice["finish_reason"]


def _completion_whole(reply: Any) -> Iterable[Parts]:
    for choice in reply["choices"]:
        yield choice["text"], choice["finish_reason"]


def _message_whole(reply: Any) -> Iterable[Parts]:
    texts = [
        json.dumps(block["input"]) if block["type"] == "tool_use" else block["text"]
        for block in reply["content"]
    ]
    yield "".join(texts), reply["stop_reason"]


def _response_whole(reply: Any) -> Iterable[Parts]:
    texts = [
        item["arguments"]
        if item["type"] == "function_call"
        else "".join(part["text"] for part in item["content"])
        for item in reply["output"]
    ]
    yield "".join(texts), reply["status"]


def _ollama_chat_whole(reply: Any) -> Iterable[Parts]:
    yield reply["message"]["content"], reply["done_reason"]


def _ollama_text_whole(reply: Any) -> Iterable[Parts]:
    yield reply["response"], reply["done_reason"]


_WHOLE: Mapping[str, Callable[[Any], Iterable[Parts]]] = {
    "/generate": _native_whole,
    "/v1/chat/completions": _chat_whole,
    "/v1/completions": _completion_whole,
    "/v1/messages": _message_whole,
    "/v1/responses": _response_whole,
    "/api/chat": _ollama_chat_whole,
    "/api/generate": _ollama_text_whole,
    "/invocations": _chat_whole,
    "/vertex_generate": lambda reply: _native_whole(reply["predictions"]),
}


def _native_event(draft: _Draft, event: Any) -> None:
    """An output repeats the text before it."""
    index, text, meta = event.get("index", 0), event["text"], event["meta_info"]
    if not text.startswith(draft.texts.get(index, "")):
        raise BrokenAnswerError(f"{draft.texts[index]!r} became {text!r}")
    draft.add(index, text[len(draft.texts.get(index, "")) :])
    finish = meta["finish_reason"]
    draft.end(index, None if finish is None else finish["type"], _native_tier(meta))


def _chat_event(draft: _Draft, event: Any) -> None:
    for choice in event["choices"]:
        delta = choice["delta"]
        calls = delta.get("tool_calls") or []
        text = "".join(call["function"].get("arguments") or "" for call in calls)
        draft.add(choice["index"], text or delta.get("content") or "")
        draft.end(choice["index"], choice["finish_reason"])


def _completion_event(draft: _Draft, event: Any) -> None:
    for choice in event["choices"]:
        draft.add(choice["index"], choice["text"])
        draft.end(choice["index"], choice["finish_reason"])


def _message_event(draft: _Draft, event: Any) -> None:
    if event["type"] == "content_block_delta":
        delta = event["delta"]
        draft.add(0, delta.get("text") or delta.get("partial_json") or "")
    elif event["type"] == "message_delta":
        draft.end(0, event["delta"]["stop_reason"])


def _response_event(draft: _Draft, event: Any) -> None:
    kind = event["type"]
    if kind in ("response.output_text.delta", "response.function_call_arguments.delta"):
        draft.add(0, event["delta"])
    elif kind in ("response.completed", "response.incomplete"):
        draft.end(0, kind.removeprefix("response."))


def _ollama_event(draft: _Draft, event: Any) -> None:
    text = event["message"]["content"] if "message" in event else event["response"]
    draft.add(0, text or "")
    draft.end(0, event["done_reason"] if event["done"] else None)


_STREAMED: Mapping[str, Callable[[_Draft, Any], None]] = {
    "/generate": _native_event,
    "/v1/chat/completions": _chat_event,
    "/v1/completions": _completion_event,
    "/v1/messages": _message_event,
    "/v1/responses": _response_event,
    "/api/chat": _ollama_event,
    "/api/generate": _ollama_event,
    "/invocations": _chat_event,
}
