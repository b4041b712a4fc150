"""Lets a browser read the page of a server that has an API key.

A browser sends no bearer token when it opens an address. So it is asked to log in as HTTP has it,
and the password it sends stands for the key. SGLang's own check of keys then decides. This holds
for reading under `/cascadia` alone: another site's page can make a browser send a password, and
must not change anything by it.
"""

import base64
import binascii

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = "/cascadia"
_CHALLENGE = (b"www-authenticate", b'Basic realm="Cascadia", charset="UTF-8"')


class BrowserLogin:
    """Pure ASGI middleware around all others, SGLang's check of keys included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path(scope)
        if not _is_reading(scope, path):
            await self._app(scope, receive, send)
            return
        headers = [
            (name, _bearer(value) if name == b"authorization" else value)
            for name, value in scope["headers"]
        ]

        async def ask_and_send(message: Message) -> None:
            is_refusal = message["type"] == "http.response.start" and message["status"] == 401
            # Only where a person has opened the page: a script's call must not ask.
            if is_refusal and path.rstrip("/") == PAGE:
                message["headers"] = [*message.get("headers", ()), _CHALLENGE]
            await send(message)

        await self._app({**scope, "headers": headers}, receive, ask_and_send)


def _path(scope: Scope) -> str:
    """Without the path that a proxy serves this server under (`--fastapi-root-path`)."""
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("root_path", ""))


def _is_reading(scope: Scope, path: str) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    return path == PAGE or path.startswith(f"{PAGE}/")


def _bearer(value: bytes) -> bytes:
    """A password as a bearer token; anything else unchanged."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return value
    try:
        _, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return value
    return b"Bearer " + password if colon else value
