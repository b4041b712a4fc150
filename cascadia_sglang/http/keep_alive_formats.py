"""The keep-alive signs of a held stream, in the form of each route."""

import json
from datetime import UTC, datetime

_SSE = "text/event-stream; charset=utf-8"
_LINES = "application/x-ndjson"
_COMMENT = b": keep-alive\n\n"
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'

_MEDIA_TYPES = {
    "/v1/chat/completions": _SSE,
    "/v1/completions": _SSE,
    "/v1/responses": _SSE,
    "/v1/messages": _SSE,
    "/invocations": _SSE,
    "/generate": _SSE,
    "/api/chat": _LINES,
    "/api/generate": _LINES,
}

# Clients of the native route read every line as JSON, so they must ask.
UNASKED = frozenset(_MEDIA_TYPES) - {"/generate"}
"""Paths whose streams give signs of life without being asked."""


def media_type(path: str) -> str | None:
    """Of a route's stream; None where the route gives no signs of life."""
    return _MEDIA_TYPES.get(path)


def sign_of_life(path: str, model: str, has_answer_begun: bool) -> bytes:
    """What the clients of a route read over: a comment, a ping, or an empty frame.

    Args:
        model: the name that the client sent; Ollama's frames repeat it.
        has_answer_begun: whether an event of the route is out. Anthropic's streams begin with
            `message_start`, so no ping comes before it.
    """
    if path == "/v1/messages" and has_answer_begun:
        return _PING
    if _MEDIA_TYPES[path] is _SSE:
        return _COMMENT
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    if path == "/api/chat":
        empty: dict[str, object] = {"message": {"role": "assistant", "content": ""}}
    else:
        empty = {"response": ""}
    frame = {"model": model, "created_at": now, **empty, "done": False}
    return json.dumps(frame).encode() + b"\n"
