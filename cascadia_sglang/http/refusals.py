"""Counts requests that ended with an error before any prompt of theirs was counted."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascadia_sglang.http.routes import HANDLING, Handling
from cascadia_sglang.http.trace import SCOPE_KEY
from cascadia_sglang.metrics.counters import Metrics

_ASKED = frozenset(path for path, handling in HANDLING.items() if handling is Handling.CASCADE)


class RefusalCounter:
    """Pure ASGI middleware around all others, so that it sees their errors too.

    What the cascade itself refuses or fails is counted there, once for each prompt.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _ASKED:
            await self._app(scope, receive, send)
            return

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                trace = scope.get(SCOPE_KEY)
                if trace is None or not trace.summary.is_counted:
                    self._metrics.failed((), message["status"])
            await send(message)

        await self._app(scope, receive, count_and_send)
