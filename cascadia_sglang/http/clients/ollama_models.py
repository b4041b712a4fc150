"""Ollama's routes about models: the list, one model, running models, the version."""

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fastapi
import msgspec
from sglang.version import __version__

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.clients.ollama_request import read_body
from cascadia_sglang.http.openapi import request_body
from cascadia_sglang.http.running_cascade import RunningCascade
from cascadia_sglang.http.status import model_card, model_cards
from cascadia_sglang.http.trace import refusal

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

# Models stay loaded; Ollama's own have a time at which they go.
_NEVER = "9999-12-31T23:59:59Z"


class ShowBody(msgspec.Struct, frozen=True):
    """Body of `/api/show`; older clients write `name`."""

    model: str | None = None
    name: str | None = None


def model_routes(
    server: RunningCascade, manager: "TokenizerManager", created: int
) -> fastapi.APIRouter:
    """The routes, for SGLang's application.

    Args:
        created: when the server started, in seconds since 1970.
    """
    router = fastapi.APIRouter()
    started = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")

    def cards() -> list[dict[str, Any]]:
        return model_cards(
            server.config, server.pool, server.voices, manager.served_model_name, created
        )

    @router.get("/api/tags")
    async def tags() -> dict[str, Any]:
        return {"models": [_listed(card) | {"modified_at": started} for card in cards()]}

    @router.get("/api/ps")
    async def running() -> dict[str, Any]:
        residence = {"expires_at": _NEVER, "size_vram": 0}
        models = [
            _listed(card) | residence | {"context_length": card["max_model_len"]}
            for card in cards()
        ]
        return {"models": models}

    @router.get("/api/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @router.post("/api/show", openapi_extra=request_body(ShowBody))
    async def show(request: fastapi.Request) -> dict[str, Any]:
        try:
            body = read_body(ShowBody, await request.body())
            name = body.model or body.name
            if not name:
                raise RequestError(400, "model is missing", "model")
            card = model_card(
                name,
                server.config,
                server.pool,
                server.voices,
                manager.served_model_name,
                created,
            )
        except RequestError as error:
            raise refusal(request, error) from None
        serving = request.app.state.openai_serving_chat
        context = card["max_model_len"]
        capabilities = ["completion"]
        if serving.tool_call_parser:
            capabilities.append("tools")
        if serving.reasoning_parser:
            capabilities.append("thinking")
        return {
            "license": "",
            "modelfile": f"FROM {card['root']}\n",
            "parameters": f"num_ctx {context}",
            "template": "",
            "modified_at": started,
            "details": _details(card),
            "model_info": {
                "general.architecture": "sglang",
                "general.name": card["root"],
                "sglang.context_length": context,
            },
            "capabilities": capabilities,
        }

    return router


def _listed(card: dict[str, Any]) -> dict[str, Any]:
    name = card["id"]
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"name": name, "model": name, "size": 0, "digest": digest, "details": _details(card)}


def _details(card: dict[str, Any]) -> dict[str, Any]:
    family = card["root"]
    return {
        "parent_model": "",
        "format": "sglang",
        "family": family,
        "families": [family],
        "parameter_size": "unknown",
        "quantization_level": "unknown",
    }
