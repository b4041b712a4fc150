"""Requests outside the cascade: which tier they are for, and which are refused."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import Message, Receive, Scope

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.engine.target_tiers import set_target_tier
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.routes import HANDLING, NEEDED_FLAGS, NOTES, Handling
from cascadia_sglang.router.model_names import read_model

# The value of a tier's SGLang flag, by tier index and the flag's field name.
FlagOf = Callable[[int, str], Any]


async def guard(
    scope: Scope,
    receive: Receive,
    header_tier: int | None,
    config: CascadeConfig,
    served_name: str,
    flag_of: FlagOf,
) -> Receive:
    """Note the tier that a control call, or a call to one tier, names; the body for its route.

    The tier is named by the header `x-cascadia-tier`, by `tier` in the query or in a JSON body, or
    by `model` where the route answers; there the cascade's names mean the last tier. `tier` is
    taken out of the body, which SGLang checks.

    Raises:
        RequestError: 400 for a route that is refused, an unknown tier, one that is missing, or a
            flag that the route needs and a tier was started without; 404 for an unknown model.
    """
    path = scope["path"]
    handling = HANDLING[path]
    if handling is Handling.REFUSED:
        raise RequestError(400, f"{path} is not served by a cascade: it {_reason(path)}")
    body = await _read(receive)
    name, model, body = _names(scope, body)
    names = ", ".join(tier.name for tier in config.tiers)
    index = header_tier if header_tier is not None else config.tier_index(name or "")
    if name and index is None:
        raise RequestError(400, f"tier is {name!r}, allowed: {names}", "tier")
    if index is None and handling is Handling.ONE_TIER:
        named = read_model(model, served_name, config).tier
        index = len(config.tiers) - 1 if named is None else named
    if index is None and handling is Handling.TIER_CONTROL:
        raise RequestError(400, f"tier is missing, allowed: {names}", "tier")
    if path in NEEDED_FLAGS:
        _check_flag(path, range(len(config.tiers)) if index is None else [index], config, flag_of)
    set_target_tier(index)
    return _replay(body, receive)


def _check_flag(path: str, tiers: Iterable[int], config: CascadeConfig, flag_of: FlagOf) -> None:
    """Refuse a call that would end a worker for want of a flag."""
    field = NEEDED_FLAGS[path]
    for index in tiers:
        if not flag_of(index, field):
            flag = "--" + field.replace("_", "-")
            name = config.tiers[index].name
            raise RequestError(400, f"{path} needs {flag}; tier {name} was started without it")


def _reason(path: str) -> str:
    return NOTES[path] if NOTES[path].startswith("belongs") else f"is left out, for {NOTES[path]}"


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":
            raise RequestError(400, "the client disconnected")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _names(scope: Scope, body: bytes) -> tuple[str | None, str | None, bytes]:
    """The tier and the model that the request names, and the body without the tier."""
    tier: Any = None
    for pair in scope.get("query_string", b"").decode("latin-1").split("&"):
        key, _, value = pair.partition("=")
        if key == "tier":
            tier = value
    try:
        data = json.loads(body) if body else None
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return tier, None, body
    if "tier" in data:
        tier = data.pop("tier")
        body = json.dumps(data).encode()
    model = data.get("model")
    return (
        None if tier is None else str(tier),
        None if model is None else str(model),
        body,
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, and then what else the client does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
