"""Puts the cascade's routes and middleware into SGLang's application."""

import time
from typing import Any

import fastapi
from fastapi.responses import JSONResponse

from cascadia_sglang.http.error_answers import ErrorAnswers
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.plan import plan_in_force
from cascadia_sglang.http.shaped_handlers import shape_errors
from cascadia_sglang.http.status import model_cards, status
from cascadia_sglang.http.writes import write_routes


def install(app: fastapi.FastAPI, server: Any, manager: Any) -> None:
    """Add routes in place of SGLang's own of the same path, and the middleware around all."""
    router = fastapi.APIRouter()
    created = int(time.time())

    @router.get("/cascadia/status")
    async def get_status() -> dict[str, Any]:
        rids = len(manager.rid_to_state)
        prefixes = server.fleet.events.summary()
        return status(server.config, server.pool, server.router, server.mover, prefixes, rids)

    @router.get("/cascadia/plan")
    async def get_plan() -> dict[str, Any]:
        return plan_in_force(server.mover, server.controller)

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": model_cards(server.config, server.pool, created)}

    @router.get("/v1/models/{model:path}")
    async def get_model(model: str) -> Any:
        cards = {card["id"]: card for card in model_cards(server.config, server.pool, created)}
        if model in cards:
            return cards[model]
        message = f"The model '{model}' does not exist"
        content = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        }
        return JSONResponse(content, status_code=404)

    _place(app.router.routes, [*router.routes, *write_routes(server, manager).routes])
    if manager.enable_metrics:
        server.measure()
    shape_errors(app)
    # The one that is added last is the outermost.
    app.add_middleware(ErrorAnswers)
    app.add_middleware(
        CascadeMiddleware, config=server.config, on_startup=manager.auto_create_handle_loop
    )


def _place(routes: list[Any], ours: list[Any]) -> None:
    """Put our routes where SGLang's of the same path stand, the others last.

    Every request walks the list, so nothing is put before the routes that serve the most.
    """
    for route in ours:
        # An included router has no path of its own.
        same = [
            index
            for index, other in enumerate(routes)
            if getattr(other, "path", None) == route.path and other.methods & route.methods
        ]
        if same:
            routes[same[0]] = route
        else:
            routes.append(route)
