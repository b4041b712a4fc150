"""Bodies that SGLang's own code fails to read, answered with a 400 rather than a 500.

Some of its schemas look into a field before they know its type, and `/vertex_generate` passes its
parameters on as keyword arguments. What the client sent wrong then shows as an error of Python.
"""

import traceback
from typing import Any

import fastapi

from cascadia_sglang.http.errors.error_shapes import whole_error

_READING_BODY = ("fastapi/dependencies/utils.py", "request_body_to_args")
_BUILDING_REQUEST = ("sglang/srt/entrypoints/http_server.py", "vertex_generate")
_ERRORS = (AttributeError, IndexError, KeyError, TypeError)


def answer_unread_bodies(app: fastapi.FastAPI) -> None:
    """Answer errors that come of reading a request's body; all others pass."""
    for kind in _ERRORS:
        app.add_exception_handler(kind, _answer)


async def _answer(request: fastapi.Request, error: Exception) -> fastapi.Response:
    if not is_about_body(error):
        raise error
    message = f"the body does not fit the route: {error}"
    headers, body = whole_error(request.url.path, 400, message, None)
    return fastapi.Response(body, 400, headers)


def is_about_body(error: Exception) -> bool:
    """Whether an error was raised while the body was read, before anything was asked of a tier."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    return any(map(_is(_READING_BODY), frames)) or _is(_BUILDING_REQUEST)(frames[-1])


def _is(location: tuple[str, str]) -> Any:
    file, function = location
    return lambda frame: frame.filename.endswith(file) and frame.name == function
