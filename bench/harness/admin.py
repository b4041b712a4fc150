"""The admin routes of a bench's server."""

from __future__ import annotations

import http.client
import json
from typing import Any

KEY = "bench"


def ask(port: int, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What a route answers, with the benches' key.

    Raises:
        RuntimeError: if it is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"authorization": f"Bearer {KEY}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        answer = json.loads(reply.read())
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(f"{method} {path}: {reply.status} {answer}")
    return dict(answer)
