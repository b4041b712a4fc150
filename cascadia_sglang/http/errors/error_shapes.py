"""Errors as the clients of each route expect them: whole responses, and the end of a stream.

- `/v1/messages`: Anthropic's `{"type": "error", "error": {...}}`; `event: error` ends a stream.
- `/api/`: Ollama's `{"error": "..."}`; the same on a line ends a stream.
- `/v1/responses`: OpenAI's `{"error": {...}}`; `event: error` ends a stream.
- Others under `/v1/`, and `/invocations`: `{"object": "error", ...}`, as SGLang's own handlers
  write it; a stream ends with `{"error": {...}}` and `[DONE]`.
- `/cascadia`: `{"error": {"message", "type", "param"}}`.
- All others, such as `/generate`: SGLang's `{"error": {"message"}}`; a stream ends with
  `{"error": {...}}` and `[DONE]`.

The official clients pick their exception by the HTTP status. After the headers have gone out they
have the type and the code alone, so both name the true status.
"""

import json
from typing import Any

RETRY_AFTER_S = 1
"""A worker starts again within seconds, and a queue moves."""

_RETRIED = frozenset({429, 503})

# https://platform.openai.com/docs/guides/error-codes
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
# https://docs.anthropic.com/en/api/errors
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def whole_error(
    path: str, status: int, message: str, param: str | None
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an error response.

    Args:
        path: the route's path, such as `/v1/messages`.
        status: HTTP status, 400 or above.
        message: one line for the client.
        param: the field or header at fault; None where there is none.

    Returns:
        Header names in lower case, and the JSON body.
    """
    body = json.dumps(_content(path, status, message, param)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return headers | retry_headers(status), body


def stream_error(path: str, status: int, message: str, param: str | None) -> bytes:
    """The bytes that end a stream whose headers have gone out.

    Args:
        path: the route's path.
        status: HTTP status that the error would have had before the headers.
        message: one line for the client.
        param: the field or header at fault; None where there is none.
    """
    if path.startswith("/api/"):
        return _json(_content(path, status, message, param)) + b"\n"
    if _is_anthropic(path):
        return b"event: error\ndata: " + _json(_content(path, status, message, param)) + b"\n\n"
    error = _openai_error(status, message, param)
    if path.startswith("/v1/responses"):
        # Clients read the error either in the event or nested in it.
        event = {**error, "type": "error", "sequence_number": 0, "error": error}
        return b"event: error\ndata: " + _json(event) + b"\n\n"
    if not path.startswith("/v1/") and path != "/invocations":
        error = {**error, "retryable": status in _RETRIED}
    return b"data: " + _json({"error": error}) + b"\n\ndata: [DONE]\n\n"


def retry_headers(status: int) -> dict[str, str]:
    """Headers that tell a client whether to send the request again.

    The clients of OpenAI and Anthropic send a request again after any status from 500, unless
    `x-should-retry` says no. An answer that failed with a 500 fails again.
    """
    if status in _RETRIED:
        return {"retry-after": str(RETRY_AFTER_S)}
    return {"x-should-retry": "false"} if status == 500 else {}


def anthropic_type(status: int) -> str:
    """Anthropic's type of an error with this HTTP status."""
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def openai_type(status: int) -> str:
    """OpenAI's type of an error with this HTTP status."""
    return _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def _content(path: str, status: int, message: str, param: str | None) -> dict[str, Any]:
    if _is_anthropic(path):
        return {"type": "error", "error": {"type": anthropic_type(status), "message": message}}
    if path.startswith("/api/"):
        return {"error": message}
    if path.startswith("/v1/responses"):
        return {"error": _openai_error(status, message, param)}
    if path.startswith("/v1/") or path == "/invocations":
        error = _openai_error(status, message, param)
        if status == 400:
            error["type"] = "BadRequestError"  # SGLang's name on these routes
        return {"object": "error", **error}
    if path.startswith("/cascadia"):
        kind = "invalid_request" if status < 500 else "unavailable"
        return {"error": {"message": message, "type": kind, "param": param}}
    return {"error": {"message": message}}


def _openai_error(status: int, message: str, param: str | None) -> dict[str, Any]:
    return {"message": message, "type": openai_type(status), "param": param, "code": status}


def _is_anthropic(path: str) -> bool:
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
