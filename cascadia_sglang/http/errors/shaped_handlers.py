"""The application's exception handlers for routes whose clients read another shape than SGLang's.

They answer what no route's handler has seen: a body that does not fit, or a path or a method that
does not exist. On `/api/` SGLang's shape would reach the user of Ollama's client as raw JSON.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import fastapi
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cascadia_sglang.http.errors.error_shapes import whole_error

Handler = Callable[[fastapi.Request, Any], Awaitable[fastapi.Response]]

OLLAMA_PREFIX = "/api/"


def shape_errors(app: fastapi.FastAPI) -> None:
    """Answer errors below `/api/` in Ollama's shape; other paths keep the handlers they have."""
    handlers: dict[Any, Any] = app.exception_handlers
    for kind in (HTTPException, fastapi.HTTPException, RequestValidationError):
        if kind in handlers:
            handlers[kind] = _ollama_or(handlers[kind])


def _ollama_or(handler: Handler) -> Handler:
    async def answer(request: fastapi.Request, error: Any) -> fastapi.Response:
        path = request.url.path
        if not path.startswith(OLLAMA_PREFIX):
            return await handler(request, error)
        if isinstance(error, RequestValidationError):
            status, message = 400, _misfits(error)
        elif error.status_code in (404, 405) and error.detail in (
            "Not Found",
            "Method Not Allowed",
        ):
            status, message = error.status_code, f"{request.method} {path} is not served"
        else:
            status, message = error.status_code, str(error.detail)
        headers, body = whole_error(path, status, message, None)
        return fastapi.Response(body, status, headers)

    return answer


def _misfits(error: RequestValidationError) -> str:
    """Each field that does not fit, and why, in one line."""
    parts = []
    for misfit in error.errors():
        field = ".".join(str(part) for part in misfit["loc"] if part != "body")
        parts.append(f"{field}: {misfit['msg']}" if field else misfit["msg"])
    return "; ".join(parts)
