"""What stands before one plain SGLang server a tier: the parts that a proxy and a router share."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import fastapi
import uvicorn
from fastapi.responses import StreamingResponse

Tier = tuple[str, float]  # a server's address, and from what on it is content with the tier
# Of a client's connection, before it is closed.
IDLE_S = 60
# Of a connection to a server, which closes it after 5 s, maybe just as it is used again.
SERVER_IDLE_S = 2
# Of a request: what it is content with instead, for every tier but the last.
FROM_HEADER = "x-from"

Answer = Callable[[fastapi.Request, Sequence[Tier]], Awaitable[Any]]


def build_app(answer: Answer, tiers: Sequence[Tier]) -> fastapi.FastAPI:
    """A server that answers native requests over these tiers, smallest first."""

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=SERVER_IDLE_S)
        async with aiohttp.ClientSession(connector=connector) as app.state.session:
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/health_generate")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/generate")
    async def generate(request: fastapi.Request) -> Any:
        return await answer(request, asked_tiers(request, tiers))

    return app


def asked_tiers(request: fastapi.Request, tiers: Sequence[Tier]) -> Sequence[Tier]:
    """The tiers, with what a request's header sets."""
    header = request.headers.get(FROM_HEADER)
    if header is None:
        return tiers
    thresholds = [float(part) for part in header.split(",")]
    return [
        (url, least) for (url, _), least in zip(tiers, (*thresholds, tiers[-1][1]), strict=True)
    ]


async def post(request: fastapi.Request, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A server's answer."""
    session: aiohttp.ClientSession = request.app.state.session
    async with session.post(f"{url}/generate", json=body) as response:
        answer: dict[str, Any] = await response.json()
        return answer


def stream(request: fastapi.Request, url: str, body: Mapping[str, Any]) -> StreamingResponse:
    """A server's answer, as it comes."""
    session: aiohttp.ClientSession = request.app.state.session

    async def events() -> AsyncIterator[bytes]:
        async with session.post(f"{url}/generate", json=body) as response:
            async for part in response.content.iter_any():
                yield part

    return StreamingResponse(events(), media_type="text/event-stream")


def settings(about: str | None) -> argparse.ArgumentParser:
    """The options that every front has."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tier", action="append", type=_tier, metavar="URL=FROM", required=True)
    return parser


def serve(app: fastapi.FastAPI, port: int) -> None:
    """Until the process is ended."""
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=IDLE_S)


def _tier(text: str) -> Tier:
    url, least = text.rsplit("=", 1)
    return url, float(least)
