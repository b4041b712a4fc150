"""Routes that change the running cascade. They need SGLang's admin key."""

import time
from typing import Any

import fastapi
import msgspec
from fastapi.responses import JSONResponse
from sglang.srt.utils.auth import AuthLevel, decide_request_auth

from cascadia_sglang.errors import ConfigError, RequestError, WorkerError
from cascadia_sglang.http.openapi import documented

_MOST_REPLICAS = 64


class ThresholdsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/thresholds."""

    thresholds: list[float]


class WorkersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/workers."""

    tier: str
    replicas: int


def write_routes(server: Any, manager: Any) -> fastapi.APIRouter:
    """The routes, for SGLang's application."""
    router = fastapi.APIRouter()
    args = manager.server_args

    async def body_of(request: fastapi.Request, kind: type[Any]) -> Any:
        _check_admin(request, args)
        try:
            return msgspec.json.decode(await request.body(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(400, f"body: {error}") from error

    @router.post("/cascadia/thresholds", **documented(ThresholdsBody))
    async def set_thresholds(request: fastapi.Request) -> Any:
        try:
            body = await body_of(request, ThresholdsBody)
            server.router.set_thresholds(body.thresholds)
        except (RequestError, ConfigError) as error:
            return cascadia_error(error)
        return {"thresholds": server.router.config.routing.thresholds}

    @router.post("/cascadia/workers", **documented(WorkersBody))
    async def set_workers(request: fastapi.Request) -> Any:
        started = time.monotonic()
        try:
            body = await body_of(request, WorkersBody)
            names = [tier.name for tier in server.config.tiers]
            if body.tier not in names:
                raise RequestError(400, f"tier is {body.tier!r}, allowed: {', '.join(names)}")
            if not 1 <= body.replicas <= _MOST_REPLICAS:
                allowed = f"1 to {_MOST_REPLICAS}"
                raise RequestError(400, f"replicas is {body.replicas}, allowed: {allowed}")
            await server.fleet.scale(body.tier, body.replicas)
        except (RequestError, WorkerError) as error:
            return cascadia_error(error)
        seconds = time.monotonic() - started
        return {"tier": body.tier, "replicas": body.replicas, "seconds": round(seconds, 3)}

    if args.api_key:
        # SGLang would else ask for the other key first.
        for route in router.routes:
            route.endpoint._auth_level = AuthLevel.ADMIN_FORCE
    return router


def cascadia_error(error: Exception) -> JSONResponse:
    """An error in the shape of all errors of /cascadia."""
    status = error.status if isinstance(error, RequestError) else 400
    if isinstance(error, WorkerError):
        status = 503
    param = error.param if isinstance(error, RequestError) else None
    kind = "invalid_request" if status < 500 else "unavailable"
    content = {"error": {"message": str(error), "type": kind, "param": param}}
    return JSONResponse(content, status_code=status)


def _check_admin(request: fastapi.Request, args: Any) -> None:
    """Raise RequestError 403 where no admin key is configured, 401 for a wrong one."""
    decision = decide_request_auth(
        method=request.method,
        path=request.url.path,
        authorization_header=request.headers.get("authorization"),
        api_key=args.api_key,
        admin_api_key=args.admin_api_key,
        auth_level=AuthLevel.ADMIN_FORCE,
    )
    if decision.allowed:
        return
    if not args.admin_api_key:
        raise RequestError(403, "the server has no --admin-api-key, which this route needs")
    raise RequestError(401, "this route needs the admin key")
