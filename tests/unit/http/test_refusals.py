"""Requests that end with an error before the cascade sees them are counted once."""

import asyncio
from collections.abc import Iterable
from typing import cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.refusals import RefusalCounter
from cascadia_sglang.http.trace import SCOPE_KEY
from cascadia_sglang.metrics.counters import CountedAttempt, Metrics
from cascadia_sglang.testing.engine import make_cascade


class CountingMetrics:
    """Notes what it is told; in place of the metrics."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def failed(self, visits: Iterable[CountedAttempt], status: int) -> None:
        assert not tuple(visits)
        self.statuses.append(status)


async def answer(request: Request) -> Response:
    """The status that the query asks for, counted by the router where it says so."""
    request.scope[SCOPE_KEY].summary.is_counted = "counted" in request.query_params
    return PlainTextResponse("", status_code=int(request.query_params["status"]))


def statuses_of(path: str, headers: dict[str, str] | None = None) -> tuple[int, list[int]]:
    """The status of a request, and what was counted."""
    counted = CountingMetrics()
    app = Starlette(routes=[Route(p, answer) for p in ("/v1/chat/completions", "/health")])
    app.add_middleware(
        CascadeMiddleware,
        config=make_cascade("small", "large"),
        served_name="served",
        on_startup=lambda: None,
        flag_of=lambda *_: None,
    )
    app.add_middleware(RefusalCounter, metrics=cast(Metrics, counted))

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return (await client.get(path, headers=headers)).status_code

    return asyncio.run(ask()), counted.statuses


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 503])
def test_an_error_that_nobody_has_counted_is_counted_under_its_status(status: int) -> None:
    statuses = statuses_of(f"/v1/chat/completions?status={status}")
    assert statuses == (status, [status])


def test_what_the_cascade_has_counted_is_not_counted_again() -> None:
    assert statuses_of("/v1/chat/completions?status=400&counted=1") == (400, [])


def test_an_answer_and_a_route_that_asks_no_model_are_not_counted() -> None:
    assert statuses_of("/v1/chat/completions?status=200") == (200, [])
    assert statuses_of("/health?status=503") == (503, [])


def test_a_malformed_control_is_counted() -> None:
    headers = {"x-cascadia-threshold": "high"}
    assert statuses_of("/v1/chat/completions?status=200", headers) == (400, [400])
