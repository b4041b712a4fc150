"""Routes that change the running cascade, or show texts. They need SGLang's admin key."""

import time
from typing import TYPE_CHECKING, Any

import fastapi
import msgspec
from sglang.srt.utils.auth import AuthLevel, decide_request_auth

from cascadia_sglang.capacity.types import Capacity
from cascadia_sglang.errors import CascadiaError, ConfigError, RequestError, control_status
from cascadia_sglang.http.errors.error_shapes import whole_error
from cascadia_sglang.http.openapi import documented
from cascadia_sglang.http.plan import active_plan, plain_actions
from cascadia_sglang.http.running_cascade import RunningCascade

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager
    from sglang.srt.server_args import ServerArgs

_MOST_REPLICAS = 64


class ThresholdsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/thresholds."""

    thresholds: list[float]


class WorkersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/workers."""

    tier: str
    replicas: int


class TierCapacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Replicas that a tier is to have; sizes of their groups where these are to change."""

    replicas: int
    tp_size: int | None = None
    pp_size: int | None = None


class PlanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/plan.

    Without `tiers` and `thresholds` the planner is asked. `tiers` holds what each tier named is to
    have, of workers that tiers share for one of them. A dry run says what would be done.
    """

    tiers: dict[str, TierCapacity] = {}
    thresholds: list[float] | None = None
    dry_run: bool = False


class DiscardedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /cascadia/discarded.

    With `begin` the request that will come under this id is kept; without it, what was discarded
    on its way is answered, once.
    """

    rid: str
    begin: bool = False


def write_routes(server: RunningCascade, manager: "TokenizerManager") -> fastapi.APIRouter:
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
            server.gearbox.set_thresholds(body.thresholds)
        except (RequestError, ConfigError) as error:
            return cascadia_error(error)
        return {"thresholds": server.gearbox.thresholds}

    @router.post("/cascadia/workers", **documented(WorkersBody))
    async def set_workers(request: fastapi.Request) -> Any:
        started = time.monotonic()
        try:
            body = await body_of(request, WorkersBody)
            pool = _pool_of(server, body.tier)
            _check_number("replicas", body.replicas, 1)
            capacity = msgspec.structs.replace(
                server.mover.capacity()[pool], replicas=body.replicas
            )
            await server.mover.move({pool: capacity})
        except CascadiaError as error:
            return cascadia_error(error)
        seconds = time.monotonic() - started
        return {"tier": body.tier, "replicas": body.replicas, "seconds": round(seconds, 3)}

    @router.post("/cascadia/plan", **documented(PlanBody))
    async def set_plan(request: fastapi.Request) -> Any:
        try:
            body = await body_of(request, PlanBody)
            capacity = _target_capacity(server, body.tiers)
            thresholds = body.thresholds
            if thresholds is not None:
                server.router.services.scores.check_calibrated("thresholds are compared with")
            if not capacity and thresholds is None:
                if server.controller is None:
                    raise RequestError(400, "tiers is missing, and planner.enabled is false")
                proposal = await server.controller.propose()
                capacity, thresholds = proposal.pools, proposal.thresholds
            if body.dry_run:
                target = server.mover.target(capacity, thresholds)
                actions = server.mover.actions(target)
                return {"plan": msgspec.to_builtins(target), "actions": plain_actions(actions)}
            await server.mover.move(capacity, thresholds)
        except CascadiaError as error:
            return cascadia_error(error)
        return active_plan(server.mover, server.controller)

    @router.post("/cascadia/discarded", **documented(DiscardedBody))
    async def read_discarded(request: fastapi.Request) -> Any:
        try:
            body = await body_of(request, DiscardedBody)
        except RequestError as error:
            return cascadia_error(error)
        if body.begin:
            server.discarded.want(body.rid)
            return {"attempts": []}
        return {"attempts": server.discarded.take(body.rid)}

    if args.api_key:
        # SGLang would else ask for the other key first.
        for route in router.routes:
            route.endpoint._auth_level = AuthLevel.ADMIN_FORCE
    return router


def cascadia_error(error: Exception) -> fastapi.Response:
    """An error in the shape of all errors of /cascadia."""
    status = error.status if isinstance(error, RequestError) else control_status(type(error))
    param = error.param if isinstance(error, RequestError) else None
    headers, body = whole_error("/cascadia", status, str(error), param)
    return fastapi.Response(body, status, headers)


def _target_capacity(server: RunningCascade, tiers: dict[str, TierCapacity]) -> dict[str, Capacity]:
    """By pool, what a body asks for; the shape stays where it names none."""
    present, target = server.mover.capacity(), {}
    for tier, requested in tiers.items():
        pool = _pool_of(server, tier)
        _check_number(f"tiers.{tier}.replicas", requested.replicas, 0)
        changes: dict[str, int] = {"replicas": requested.replicas}
        for key in ("tp_size", "pp_size"):
            size = getattr(requested, key)
            if size is not None:
                _check_number(f"tiers.{tier}.{key}", size, 1)
                changes[key] = size
        target[pool] = msgspec.structs.replace(present[pool], **changes)
    return target


def _pool_of(server: RunningCascade, tier: str) -> str:
    index = server.config.tier_index(tier)
    if index is None:
        names = ", ".join(known_tier.name for known_tier in server.config.tiers)
        raise RequestError(400, f"tier is {tier!r}, allowed: {names}")
    return server.fleet.pool_of(index)


def _check_number(field: str, value: int, least: int) -> None:
    if not least <= value <= _MOST_REPLICAS:
        raise RequestError(400, f"{field} is {value}, allowed: {least} to {_MOST_REPLICAS}")


def _check_admin(request: fastapi.Request, args: "ServerArgs") -> None:
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
