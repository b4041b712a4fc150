"""AROUND hook on OllamaServing.handle_chat: note the model's name.

Upstream: answers with the server's one model, whatever the request names.
We need: the tier that `model` pins; a name that is neither a tier nor the cascade is a 404.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.registry import PatchSpec
from cascadia_sglang.http.trace import note_model


def _build(server: Any) -> Callable[..., Any]:
    async def note_and_answer(
        original: Callable[..., Any], handler: Any, request: Any, raw_request: Any = None
    ) -> Any:
        if raw_request is not None:
            note_model(server, handler, request.model, raw_request)
        return await original(handler, request, raw_request)

    return note_and_answer


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.ollama.serving.OllamaServing.handle_chat",
    hook_type="around",
    kind="async function",
    parameters=("request", "raw_request"),
    build=_build,
    reason="the model's name is lost in the engine's own request",
    drop_when="SGLang keeps the model's name on its requests",
)
