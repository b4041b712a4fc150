"""Requests outside the cascade: which tier they are for, and which are refused."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import Message, Receive, Scope

from cascadia_sglang.config import CascadeConfig
from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.routes import HANDLING, NEEDED_FLAGS, NOTES, Handling
from cascadia_sglang.workers.control import target_tiers

# The value of a tier's SGLang flag, by tier index and the flag's field name.
FlagOf = Callable[[int, str], Any]


async def guard(
    scope: Scope,
    receive: Receive,
    header_tier: int | None,
    config: CascadeConfig,
    flag_of: FlagOf,
) -> Receive:
    """Note the tier that a control call, or a call to one tier, names; the body for its route.

    The tier is named by the header `x-cascadia-tier`, by `tier` in the query or in a JSON body, or
    by `model` where the route answers. `tier` is taken out of the body, which SGLang checks.

    Raises:
        RequestError: 400 for a route that is refused, an unknown tier, one that is missing, or a
            flag that the route needs and a tier was started without.
    """
    path = scope["path"]
    handling = HANDLING[path]
    if handling is Handling.REFUSED:
        raise RequestError(400, f"{path} is not served by a cascade: it {_reason(path)}")
    body = await _read(receive)
    name, body = _tier_name(scope, body, handling)
    names = ", ".join(tier.name for tier in config.tiers)
    index = header_tier if header_tier is not None else config.tier_index(name or "")
    if name and index is None and handling is not Handling.ONE_TIER:
        raise RequestError(400, f"tier is {name!r}, allowed: {names}", "tier")
    if index is None and handling is Handling.ONE_TIER:
        raise RequestError(400, f"model is {name!r}, needed is a tier: {names}", "model")
    if index is None and handling is Handling.TIER_CONTROL:
        raise RequestError(400, f"tier is missing, allowed: {names}", "tier")
    if path in NEEDED_FLAGS:
        _check_flag(path, range(len(config.tiers)) if index is None else [index], config, flag_of)
    target_tiers.set(None if index is None else frozenset({index}))
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


def _tier_name(scope: Scope, body: bytes, handling: Handling) -> tuple[str | None, bytes]:
    """The name in the request, and the body without it."""
    name: Any = None
    for pair in scope.get("query_string", b"").decode("latin-1").split("&"):
        key, _, value = pair.partition("=")
        if key == "tier":
            name = value
    try:
        data = json.loads(body) if body else None
    except ValueError:
        return name, body
    if isinstance(data, dict):
        if "tier" in data:
            name = data.pop("tier")
            body = json.dumps(data).encode()
        elif name is None and handling is Handling.ONE_TIER:
            name = data.get("model")
    return (None if name is None else str(name)), body


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, and then what else the client does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
