"""Puts the cascade's routes and middleware into SGLang's application."""

import time
from typing import TYPE_CHECKING, Any

import fastapi
from fastapi.responses import JSONResponse
from sglang.srt.observability.trace import get_global_trace_level
from starlette.routing import Route

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.clients.ollama import ollama_routes
from cascadia_sglang.http.error_answers import ErrorAnswers
from cascadia_sglang.http.errors.shaped_handlers import shape_errors
from cascadia_sglang.http.errors.told_errors import log_told_errors_in_one_line
from cascadia_sglang.http.errors.unread_bodies import answer_unread_bodies
from cascadia_sglang.http.header_documents import documenting_headers
from cascadia_sglang.http.keep_alive import KeepAlive
from cascadia_sglang.http.metrics_page import Gauges, MetricsPage
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.page.browser_login import BrowserLogin
from cascadia_sglang.http.page.page_routes import page_routes
from cascadia_sglang.http.plan import active_plan
from cascadia_sglang.http.refusals import RefusalCounter
from cascadia_sglang.http.running_cascade import RunningCascade
from cascadia_sglang.http.server_info import server_info_routes
from cascadia_sglang.http.status import model_card, model_cards, status
from cascadia_sglang.http.write_routes import write_routes

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager


def install(app: fastapi.FastAPI, server: RunningCascade, manager: "TokenizerManager") -> None:
    """Add routes in place of SGLang's own of the same path, and the middleware around all."""
    router = fastapi.APIRouter()
    created = int(time.time())

    def status_now() -> dict[str, Any]:
        rids = len(manager.rid_to_state)
        prefixes = server.fleet.events.summary()
        return status(
            server.config,
            server.pool,
            server.router,
            server.mover,
            prefixes,
            rids,
            server.voices,
            server.self_calibration,
        )

    @router.get("/cascadia/status")
    async def get_status() -> dict[str, Any]:
        return status_now()

    @router.get("/cascadia/plan")
    async def get_plan() -> dict[str, Any]:
        return active_plan(server.mover, server.controller)

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        served_name = manager.served_model_name
        cards = model_cards(server.config, server.pool, server.voices, served_name, created)
        return {"object": "list", "data": cards}

    @router.get("/v1/models/{model:path}")
    async def get_model(model: str) -> Any:
        try:
            return model_card(
                model,
                server.config,
                server.pool,
                server.voices,
                manager.served_model_name,
                created,
            )
        except RequestError as error:
            # As SGLang's own route writes it.
            content = {
                "message": str(error),
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
            return JSONResponse({"error": content}, error.status)

    ours = [
        router,
        write_routes(server, manager),
        page_routes(server, status_now),
        ollama_routes(server, manager, created),
        server_info_routes(manager.server_args),
    ]
    _insert_routes(app.router.routes, [route for part in ours for route in part.routes])
    names = [tier.name for tier in server.config.tiers]
    app.openapi = documenting_headers(app.openapi, names)
    if manager.enable_metrics:
        server.open_metrics()
        gauges = Gauges(
            server.pools, server.pool, server.router, server.mover, server.self_calibration
        )
        page = MetricsPage(gauges, server.shows_old_metric_names)
        # Before SGLang's own, which its start puts at the end.
        app.router.routes += [Route("/metrics", page), Route("/metrics/", page)]
    if manager.enable_trace:
        server.router.services.spans.open(lambda: get_global_trace_level() > 0)
    shape_errors(app)
    log_told_errors_in_one_line()
    answer_unread_bodies(app)
    # The one that is added last is the outermost.
    keep_alive_s = server.config.routing.keep_alive_s
    app.add_middleware(KeepAlive, tier_names=names, interval_s=keep_alive_s)
    app.add_middleware(ErrorAnswers)
    app.add_middleware(
        CascadeMiddleware,
        config=server.config,
        served_name=manager.served_model_name,
        on_startup=manager.auto_create_handle_loop,
        flag_of=server.flag_of,
    )
    if manager.enable_metrics:
        app.add_middleware(RefusalCounter, metrics=server.metrics)
    # SGLang puts its check of the keys around all of this later, so that the login goes around it.
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: BrowserLogin(build())


def _insert_routes(routes: list[Any], ours: list[Any]) -> None:
    """Put our routes where SGLang's of the same path stand, the others last.

    Every request walks the list, so nothing is put before the routes that serve the most.
    """
    for route in ours:
        # An included router has no path of its own.
        same = [
            index
            for index, existing in enumerate(routes)
            if getattr(existing, "path", None) == route.path and existing.methods & route.methods
        ]
        if same:
            routes[same[0]] = route
        else:
            routes.append(route)
