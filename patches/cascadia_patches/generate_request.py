"""AROUND hook on TokenizerManager.generate_request: the cascade's door.

Upstream: an async generator that normalises, tokenises and dispatches a request, and yields its
outputs.
We need: the same for the caller, with a climb through the tiers in between; each attempt runs
through the original.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from cascadia_sglang.errors import CascadiaError, RequestError

from cascadia_patches.registry import PatchSpec


def _build(server: Any) -> Callable[..., Any]:
    async def generate_request(
        original: Callable[..., Any], manager: Any, obj: Any, request: Any = None
    ) -> AsyncIterator[Any]:
        try:
            async for output in server.answer(original, obj, request):
                yield output
        except RequestError as error:
            raise as_sglang_error(error, obj, request) from None
        except CascadiaError as error:
            raise as_sglang_error(RequestError(503, str(error)), obj, request) from None
        finally:
            del manager

    return generate_request


def as_sglang_error(error: RequestError, obj: Any, request: Any) -> Exception:
    """What SGLang's handlers turn into the route's own error shape, with the status."""
    import fastapi

    is_native_stream = request is not None and request.url.path == "/generate" and obj.stream
    if error.status == 400 or is_native_stream or request is None:
        plain = ValueError(str(error))
        plain.status_code = error.status  # type: ignore[attr-defined]
        return plain
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return fastapi.HTTPException(status_code=error.status, detail=str(error), headers=headers)


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.generate_request",
    hook_type="around",
    kind="async generator",
    parameters=("obj", "request"),
    build=_build,
    reason="every route that generates comes through here",
    drop_when="SGLang lets a plugin answer requests",
)
