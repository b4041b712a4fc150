"""The admin routes of a bench's server."""

from __future__ import annotations

import http.client
import json
from typing import Any

KEY = "bench"


def ask(port: int, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """The JSON that a route answers, with the benches' key.

    Raises:
        RuntimeError: if the status is not 200.
    """
    return dict(json.loads(_send(port, method, path, body)))


def flush_caches(port: int) -> None:
    """Empty the prefix caches of all workers, once they are idle; SGLang answers in words.

    Raises:
        RuntimeError: if a cache was not emptied.
    """
    _send(port, "POST", "/flush_cache?timeout=20", None)


def _send(port: int, method: str, path: str, body: Any) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"authorization": f"Bearer {KEY}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        answer = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(f"{method} {path}: {reply.status} {answer.decode(errors='replace')}")
    return answer
