"""The headers of the cascade in SGLang's OpenAPI document."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.error_answers import ErrorAnswers
from cascadia_sglang.http.header_documents import documenting_headers
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.routes import HANDLING, Handling
from cascadia_sglang.http.trace import SCOPE_KEY
from cascadia_sglang.router.controls import Controls, parse_controls
from cascadia_sglang.router.request import ResponseSummary
from cascadia_sglang.testing.engine import make_cascade

CASCADE = make_cascade("small", "large")
ASKED = sorted(path for path, handling in HANDLING.items() if handling is Handling.CASCADE)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    from fastapi.openapi.utils import get_openapi
    from sglang.srt.entrypoints.http_server import app

    plain = get_openapi(title="SGLang", version="1", routes=app.routes)
    openapi = documenting_headers(lambda: plain, ["small", "large"])
    openapi()
    return openapi()


def operations(document: dict[str, Any], path: str) -> list[dict[str, Any]]:
    return list(document["paths"][path].values())


def request_headers(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Their schemas, by name."""
    ours = [
        header for header in operation["parameters"] if header["name"].startswith("x-cascadia-")
    ]
    assert all(header["in"] == "header" and header["description"] for header in ours)
    assert len({header["name"] for header in ours}) == len(ours)
    return {header["name"]: header["schema"] for header in ours}


@pytest.mark.parametrize("path", ASKED)
def test_every_route_of_the_cascade_names_the_controls_that_it_reads(
    document: dict[str, Any], path: str
) -> None:
    with pytest.raises(RequestError) as raised:
        parse_controls({"x-cascadia-other": "1"}, CASCADE)
    allowed = str(raised.value).partition("allowed: ")[2].split(", ")
    for operation in operations(document, path):
        assert sorted(request_headers(operation)) == sorted(allowed)


def values(schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Some that a schema allows, and some that it does not."""
    if "enum" in schema:
        return schema["enum"], ["other"]
    if schema["type"] == "boolean":
        return ["true", "false"], ["maybe"]
    most = schema.get("maximum", 1e6)
    if "exclusiveMinimum" in schema:
        return ["0.5", str(most)], [str(schema["exclusiveMinimum"]), "-1", "x"]
    return [str(schema["minimum"]), str(most)], [str(schema["minimum"] - 1), str(most + 1), "x"]


def test_the_controls_take_what_their_schemas_allow_and_nothing_else(
    document: dict[str, Any],
) -> None:
    (operation,) = operations(document, "/v1/chat/completions")
    for name, schema in request_headers(operation).items():
        allowed, refused = values(schema)
        for value in allowed:
            assert parse_controls({name: value}, CASCADE) != Controls()
        for value in refused:
            with pytest.raises(RequestError, match=name):
                parse_controls({name: value}, CASCADE)


def sent_headers(summary: ResponseSummary, status: int) -> set[str]:
    """Names of the headers that leave with a response that came to this."""

    async def answer(request: Request) -> Response:
        request.scope[SCOPE_KEY].summary = summary
        return PlainTextResponse("", status_code=status)

    app = Starlette(routes=[Route("/generate", answer)])
    app.add_middleware(ErrorAnswers)
    app.add_middleware(
        CascadeMiddleware,
        config=CASCADE,
        served_name="served",
        on_startup=lambda: None,
        flag_of=lambda *_: None,
    )

    async def ask() -> httpx.Headers:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return (await client.get("/generate")).headers

    headers = asyncio.run(ask())
    return {name for name in headers if name.startswith("x-cascadia-") or "retry" in name}


@pytest.mark.parametrize("path", ASKED)
def test_every_response_names_the_headers_that_it_may_have(
    document: dict[str, Any], path: str
) -> None:
    answered = sent_headers(
        ResponseSummary(
            tier_index=1,
            score=0.9,
            calibrated=True,
            reason="accepted",
            attempts=2,
            tokens=9,
            gear=1,
        ),
        200,
    )
    summary = ResponseSummary(attempts=2, tokens=9, gear=1)
    failed = sent_headers(summary, 503) | sent_headers(summary, 500)
    assert {"x-cascadia-tier", "x-cascadia-score"} <= answered
    assert {"retry-after", "x-should-retry"} <= failed
    for operation in operations(document, path):
        responses = operation["responses"]
        assert set(responses["200"]["headers"]) == answered
        assert set(responses["default"]["headers"]) == failed
        for header in responses["200"]["headers"].values():
            assert header["description"]
            assert header["schema"]["type"] in ("string", "number", "integer", "boolean")


def test_other_routes_stay_as_they_are(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        if HANDLING.get(path) is not Handling.CASCADE:
            assert "x-cascadia" not in str(methods)
