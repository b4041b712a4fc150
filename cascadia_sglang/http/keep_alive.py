"""Pure ASGI middleware: signs of life while a streamed answer is held back.

Proxies and clients hang up on a stream that is silent for long. An answer that leaves sooner has
its true status and all headers. Otherwise the headers that are known go out after `keep_alive_s`,
and a sign of life follows whenever so long nothing was sent. What is known later than the headers
stands in one comment before the stream's end, and in the `usage` that the client asked for.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascadia_sglang.http.errors.error_shapes import stream_error
from cascadia_sglang.http.keep_alive_formats import UNASKED, media_type, sign_of_life
from cascadia_sglang.http.trace import SCOPE_KEY, Trace

logger = logging.getLogger(__name__)

# The last event of a stream, by its first bytes.
_LAST_EVENTS = (
    b"data: [DONE]",
    b"event: message_stop",
    b"event: response.completed",
    b"event: response.incomplete",
    b"event: response.failed",
)


class KeepAlive:
    """Sends signs of life in the form of the route, from when the cascade has a streamed request.

    A request that is refused before then keeps its status, and so does one that is not streamed.
    """

    def __init__(self, app: ASGIApp, tier_names: Sequence[str], interval_s: float) -> None:
        """`interval_s` is `routing.keep_alive_s`; 0 for never."""
        self._app = app
        self._tier_names = tier_names
        self._interval_s = interval_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = scope.get(SCOPE_KEY)
        path = scope.get("path", "")
        if trace is None or media_type(path) is None:
            await self._app(scope, receive, send)
            return
        interval_s = trace.controls.keep_alive_s
        if interval_s is None:
            interval_s = self._interval_s if path in UNASKED else 0.0
        if not interval_s:
            await self._app(scope, receive, send)
            return
        stream = _Stream(path, trace, send, interval_s, self._tier_names)
        trace.on_stream = stream.begin
        try:
            await self._app(scope, receive, stream.pass_on)
        finally:
            stream.close()


class _Stream:
    """One response. The lock keeps the handler's messages and the signs of life apart."""

    def __init__(
        self, path: str, trace: Trace, send: Send, interval_s: float, tier_names: Sequence[str]
    ) -> None:
        self._path = path
        self._trace = trace
        self._send = send
        self._interval_s = interval_s
        self._tier_names = tier_names
        self._lock: asyncio.Lock | None = None  # from the begin on
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent_s = 0.0  # in the event loop's time
        self._is_started = False  # whether a response start was passed on
        self._has_answer_begun = False  # whether an event of the handler was passed on
        self._is_over = False
        self._refusal: int | None = None  # status of an error that came after the headers
        self._refusal_body = b""

    def begin(self) -> None:
        """The cascade has the request, and it is streamed."""
        if self._lock is None and not self._is_over:
            self._lock = asyncio.Lock()
            self._sent_s = asyncio.get_running_loop().time()
            self._set_timer(self._interval_s)

    def close(self) -> None:
        """Send nothing more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def pass_on(self, message: Message) -> None:
        """Send a message of the handler."""
        if self._lock is None:
            await self._send(message)
            return
        async with self._lock:
            await self._forward(message)
            self._sent_s = asyncio.get_running_loop().time()

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self._is_started:
                self._is_started = True
                await self._send(message)
            elif message["status"] != 200:
                self._refusal = message["status"]
            return
        if self._refusal is not None:
            await self._refuse(self._refusal, message)
            return
        self._has_answer_begun = True
        self._is_over = not message.get("more_body", False)
        if self._trace.is_opened_early:
            message = {**message, "body": self._with_late(message.get("body", b""))}
        await self._send(message)

    async def _refuse(self, status: int, message: Message) -> None:
        """End an opened stream with the error that the handler answers with."""
        self._refusal_body += message.get("body", b"")
        if message.get("more_body", False):
            return
        self._is_over = True
        body = stream_error(self._path, status, _message_of(self._refusal_body), None)
        await self._send({"type": "http.response.body", "body": body})

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        left_s = self._sent_s + self._interval_s - asyncio.get_running_loop().time()
        if left_s > 0:
            self._set_timer(left_s)
        elif self._lock is not None and self._lock.locked():
            # A message is on its way, or the client reads nothing.
            self._set_timer(self._interval_s)
        else:
            self._task = asyncio.create_task(self._give_sign())

    async def _give_sign(self) -> None:
        assert self._lock is not None
        async with self._lock:
            if self._is_over or self._refusal is not None:
                return
            if not self._has_answer_begun:
                self._trace.is_opened_early = True
            if not self._is_started:
                self._is_started = True
                kind = media_type(self._path) or ""
                headers = [(b"content-type", kind.encode())]
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            body = sign_of_life(self._path, self._trace.model, self._has_answer_begun)
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self._sent_s = asyncio.get_running_loop().time()
            self._set_timer(self._interval_s)

    def _with_late(self, body: bytes) -> bytes:
        """A body message of the handler, with what the headers did not say."""
        if body.startswith(_LAST_EVENTS):
            late = json.dumps({"cascadia": self._late()}).encode()
            return b": " + late + b"\n\n" + body
        if body.startswith(b"data: {") and b'"choices":[],' in body and b'"usage":{' in body:
            chunk = json.loads(body.removeprefix(b"data: "))
            chunk["usage"]["cascadia"] = self._late()
            return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"
        return body

    def _late(self) -> dict[str, Any]:
        summary = self._trace.summary
        return {
            "tier": None if summary.tier_index < 0 else self._tier_names[summary.tier_index],
            "score": summary.score,
            "calibrated": summary.calibrated,
            "attempts": summary.attempts,
            "reason": summary.reason,
            "total_tokens": summary.tokens,
        }


def _message_of(body: bytes) -> str:
    """What an error response says, in whichever shape the handler wrote it."""
    try:
        content = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    inner = content.get("error", content) if isinstance(content, dict) else content
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
