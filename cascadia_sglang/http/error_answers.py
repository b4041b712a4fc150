"""Pure ASGI middleware: an error of a request leaves in its route's shape, with its true status.

SGLang's handlers write an error as they can: a lost worker becomes a 400 on `/v1/responses`, a
`BadRequestError` in a chat stream, a cut body on `/api/chat`. So whoever refuses a request notes
the error in its trace, and what the handler then writes is replaced here.
"""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.errors.error_shapes import retry_headers, stream_error, whole_error
from cascadia_sglang.http.trace import SCOPE_KEY, Trace

logger = logging.getLogger(__name__)


class ErrorAnswers:
    """Replaces what a handler writes once the request's trace has an error.

    The start of a response waits for its first body message, so that an error that comes before
    any byte of the answer still gives the status.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = scope.get(SCOPE_KEY)
        if scope["type"] != "http" or trace is None:
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope["path"], trace, send)
        try:
            await self._app(scope, receive, answer.pass_on)
        except Exception as error:
            if trace.error is None:
                trace.error = RequestError(500, "Internal server error")
                await answer.end()
                raise
            logger.debug("%s ended with %r", scope["path"], error)
            await answer.end()


class _Answer:
    """One response on its way to the client."""

    def __init__(self, path: str, trace: Trace, send: Send) -> None:
        self._path = path
        self._trace = trace
        self._send = send
        self._held: Message | None = None  # the start, until the first body message
        self._is_started = False
        self._is_over = False

    async def pass_on(self, message: Message) -> None:
        """Send a message of the handler, or the error in its place."""
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            self._held = message
            return
        if self._trace.error is not None and not self._tells_itself():
            await self.end()
            return
        if self._held is not None:
            start, self._held = self._held, None
            start["headers"] = _with_retry(start)
            self._is_started = True
            await self._send(start)
        self._is_over = not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """End the response with the trace's error, whole where nothing has gone out."""
        error = self._trace.error
        if self._is_over or error is None:
            return
        self._is_over = True
        if self._is_started:
            body = stream_error(self._path, error.status, str(error), error.param)
        else:
            named, body = whole_error(self._path, error.status, str(error), error.param)
            headers = [(name.encode(), value.encode()) for name, value in named.items()]
            start = {"type": "http.response.start", "status": error.status, "headers": headers}
            await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _tells_itself(self) -> bool:
        """Whether the handler ends this stream well: Responses have an event of their own."""
        return self._is_started and self._path.startswith("/v1/responses")


def _with_retry(start: Message) -> list[tuple[bytes, bytes]]:
    headers = list(start.get("headers", ()))
    names = {name for name, _ in headers}
    for name, value in retry_headers(start["status"]).items():
        if name.encode() not in names:
            headers.append((name.encode(), value.encode()))
    return headers
