"""Pure ASGI middleware: request controls in, response headers out."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.errors.error_shapes import whole_error
from cascadia_sglang.http.routes import GUARDED
from cascadia_sglang.http.single_tier_calls import FlagOf, guard
from cascadia_sglang.http.size_limits import limited_body
from cascadia_sglang.http.trace import SCOPE_KEY, Trace
from cascadia_sglang.router.controls import PREFIX, Controls, parse_controls

_PREFIX = PREFIX.encode()
_NO_CONTROLS = Controls()


class CascadeMiddleware:
    """Reads `x-cascadia-*` before the route runs; writes them once the first body byte is there.

    The response's start is held back until then, because only then the tier is known.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: CascadeConfig,
        served_name: str,
        on_startup: Any,
        flag_of: FlagOf,
    ) -> None:
        self._served_name = served_name
        self._app = app
        self._flag_of = flag_of
        self._config = config
        self._on_startup = on_startup
        self._names = [tier.name for tier in config.tiers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                self._on_startup()
            await self._app(scope, receive, send)
            return
        ours = {
            k.decode("latin-1"): v.decode("latin-1")
            for k, v in scope["headers"]
            if k.startswith(_PREFIX)
        }
        try:
            trace = Trace(parse_controls(ours, self._config) if ours else _NO_CONTROLS)
            receive = limited_body(scope, receive, self._config.routing.max_body_bytes)
            if scope["path"] in GUARDED:
                tier = trace.controls.tier
                receive = await guard(
                    scope, receive, tier, self._config, self._served_name, self._flag_of
                )
        except RequestError as error:
            await _send_error(send, scope["path"], error)
            return
        scope[SCOPE_KEY] = trace
        start: Message | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                start["headers"] = [*start.get("headers", ()), *self._headers(trace)]
                held, start = start, None
                await send(held)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, trace: Trace) -> list[tuple[bytes, bytes]]:
        """What is known when the first byte leaves."""
        summary = trace.summary
        headers = []
        if summary.attempts and not trace.is_opened_early:
            headers.append((b"x-cascadia-attempts", str(summary.attempts).encode()))
            if not summary.is_early:
                headers.append((b"x-cascadia-total-tokens", str(summary.tokens).encode()))
        tier = trace.controls.tier if trace.is_opened_early else None
        tier = summary.tier_index if tier is None else tier
        if tier >= 0:
            headers.append((b"x-cascadia-tier", self._names[tier].encode()))
        if summary.gear:
            headers.append((b"x-cascadia-gear", str(summary.gear).encode()))
        if summary.score is not None:
            headers.append((b"x-cascadia-score", f"{summary.score:.6f}".encode()))
            calibrated = b"true" if summary.calibrated else b"false"
            headers.append((b"x-cascadia-calibrated", calibrated))
        if summary.reason is not None:
            headers.append((b"x-cascadia-reason", summary.reason.encode()))
        return headers


async def _send_error(send: Send, path: str, error: RequestError) -> None:
    """An error before any route runs, in the shape of the route's own errors."""
    named, body = whole_error(path, error.status, str(error), error.param)
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
