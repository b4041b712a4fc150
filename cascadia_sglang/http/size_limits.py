"""Limits on a client's data: headers on every route, the body on routes that answer."""

import fastapi
from starlette.types import Message, Receive, Scope

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.routes import HANDLING, Handling

# As many as uvicorn takes of headers that come in pieces. Where more are incomplete, it answers
# with a bare 400 and closes. SGLang has no flag for that limit.
MOST_HEADER_BYTES = 16 * 2**10
# Control calls may carry weights.
_LIMITED = (Handling.CASCADE, Handling.ONE_TIER)


def limited_body(scope: Scope, receive: Receive, most_bytes: int) -> Receive:
    """The body for a route that answers, no more of it than `most_bytes`; others get all of it.

    Raises:
        RequestError: 431 for headers above `MOST_HEADER_BYTES`; 413 for a body whose header
            announces too much. One that does not say its length raises where the route reads it.
    """
    header_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
    if header_bytes > MOST_HEADER_BYTES:
        allowed = f"at most {MOST_HEADER_BYTES} bytes"
        raise RequestError(431, f"headers may have {allowed}, got {header_bytes}")
    if HANDLING.get(scope["path"]) not in _LIMITED:
        return receive
    message = f"the body of a request may have at most {most_bytes} bytes"
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most_bytes:
            raise RequestError(413, f"{message}, got {int(value)}")
    received_bytes = 0

    async def next_message() -> Message:
        nonlocal received_bytes
        received = await receive()
        received_bytes += len(received.get("body", b""))
        if received_bytes > most_bytes:
            raise fastapi.HTTPException(413, message)
        return received

    return next_message
