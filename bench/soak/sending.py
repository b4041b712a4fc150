"""Sends one request of the mix and says how it ended."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.soak.answers import (
    ABORTED,
    BrokenAnswerError,
    Choice,
    StreamEndedError,
    error_status,
    read_stream,
    read_whole,
)
from bench.soak.changes import HEADERS
from bench.soak.mix import Request

ANSWERED, REFUSED, LEFT, HUNG, BROKEN = "answered", "refused", "left", "hung", "broken"
# Beyond the deadline that the request itself carries.
HANG_S = 60.0
# A request that ended two workers; nothing here does, so it is counted apart.
POISON = "ended two workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a request ended.

    Attributes:
        what: one of the words above.
        status: of an error; 0 where there was none.
        why: what was wrong with a broken one.
        tier: of the answer, where a header named it.
    """

    request: Request
    what: str
    status: int = 0
    why: str = ""
    tier: str | None = None
    choices: list[Choice] = field(default_factory=list)


async def send(
    session: aiohttp.ClientSession, base: str, request: Request, rng: random.Random
) -> End:
    """Send it, as its kind has it, and wait for its end."""
    act = {"aborted": _aborted, "dropped": _dropped, "session": _in_a_session}
    try:
        async with asyncio.timeout(HANG_S):
            return await act.get(request.kind, _plain)(session, base, request, rng)
    except TimeoutError:
        return End(request=request, what=HUNG)
    except aiohttp.ClientError as error:
        why = f"{type(error).__name__}: {error}"[:200]
        return End(request=request, what=BROKEN, why=why)


async def _plain(
    session: aiohttp.ClientSession, base: str, request: Request, _: random.Random
) -> End:
    url = base + request.route
    async with session.post(url, data=request.payload, headers=request.headers) as response:
        content = await response.read()
        status, tier = response.status, response.headers.get("x-cascadia-tier")
    return judged(request, status, tier, content)


def judged(request: Request, status: int, tier: str | None, content: bytes) -> End:
    """What a response comes to."""
    try:
        if status != 200:
            return _refused(request, error_status(status, content), content.decode())
        if request.is_refused:
            raise BrokenAnswerError(f"it was answered: {content[:200]!r}")
        read = read_whole if request.mode is None else read_stream
        choices = read(request.route, content)
        _check(request, choices)
    except StreamEndedError as error:
        return _refused(request, error.status, str(error))
    except BrokenAnswerError as error:
        return End(request=request, what=BROKEN, status=status, why=str(error)[:400])
    return End(request=request, what=ANSWERED, tier=tier, choices=choices)


def _check(request: Request, choices: list[Choice]) -> None:
    """Raise BrokenAnswerError for an answer that is not what was asked for."""
    if len(choices) != request.choices:
        raise BrokenAnswerError(f"{len(choices)} choices, asked for: {request.choices}")
    for choice in choices:
        is_whole = choice.finish == "ended"
        if (
            request.texts
            and is_whole
            and choice.text.replace('": "', '":"')
            not in {text.replace('": "', '":"') for text in request.texts}
        ):
            raise BrokenAnswerError(f"{choice.text!r}, allowed: {request.texts}")
        if choice.finish == ABORTED and request.kind != "aborted":
            raise BrokenAnswerError("it was aborted, and nobody asked for that")


def _refused(request: Request, status: int, message: str) -> End:
    # Ollama's streams name no status.
    is_clear = status in request.errors or (status == 0 and request.route.startswith("/api/"))
    if not is_clear and status == 500 and POISON in message:
        return End(request=request, what=REFUSED, status=status, why=POISON)
    what = REFUSED if is_clear else BROKEN
    return End(request=request, what=what, status=status, why=message[:400])


async def _aborted(
    session: aiohttp.ClientSession, base: str, request: Request, rng: random.Random
) -> End:
    """Aborted by its id after a moment; it may end before."""

    async def abort() -> None:
        await asyncio.sleep(rng.uniform(0.01, 0.5))
        body = {"rid": request.body["rid"]}
        url = f"{base}/abort_request"
        async with session.post(url, json=body, headers=HEADERS) as response:
            response.raise_for_status()
            await response.read()

    aborting = asyncio.create_task(abort())
    try:
        return await _plain(session, base, request, rng)
    finally:
        await aborting


async def _dropped(
    session: aiohttp.ClientSession, base: str, request: Request, rng: random.Random
) -> End:
    """Its client leaves after a moment; it may be answered before."""
    try:
        async with asyncio.timeout(rng.uniform(0.02, 0.5)):
            return await _plain(session, base, request, rng)
    except TimeoutError:
        return End(request=request, what=LEFT)


async def _in_a_session(
    session: aiohttp.ClientSession, base: str, request: Request, rng: random.Random
) -> End:
    """Two turns in a session of one tier, which is closed again."""
    opened: Any = {"capacity_of_str_len": 4096, "tier": rng.choice(("small", "middle"))}
    async with session.post(f"{base}/open_session", json=opened) as response:
        content = await response.read()
        if response.status != 200:
            return judged(request, response.status, None, content)
        name = await response.json()
    try:
        body = {**request.body, "session_params": {"id": name}}
        end = await _turn(session, base, request, body)
        if end.what == ANSWERED:
            end = await _turn(session, base, request, body)
    finally:
        async with session.post(f"{base}/close_session", json={"session_id": name}) as response:
            await response.read()
    return end


async def _turn(
    session: aiohttp.ClientSession, base: str, request: Request, body: dict[str, Any]
) -> End:
    url, headers = base + request.route, request.headers
    async with session.post(url, json=body, headers=headers) as response:
        content = await response.read()
        return judged(request, response.status, None, content)
