"""A browser's login stands for the API key, for reading the page alone."""

import asyncio

import httpx
import pytest
from sglang.srt.utils.auth import add_api_key_middleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cascadia_sglang.http.page.browser_login import BrowserLogin


async def answer(_: Request) -> Response:
    return PlainTextResponse("here")


def send(method: str, path: str, root_path: str = "", **how: object) -> httpx.Response:
    """What SGLang's check of the keys and the login make of a request."""
    paths = ("/cascadia", "/cascadia/status", "/cascadiax", "/v1/models")
    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in paths])
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: BrowserLogin(build())  # type: ignore[method-assign]
    add_api_key_middleware(app, api_key="the key", admin_api_key=None)

    async def ask() -> httpx.Response:
        # As Uvicorn has it, the path begins with the root path.
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, root_path + path, **how)  # type: ignore[arg-type]

    return asyncio.run(ask())


def test_opening_the_page_without_a_key_asks_for_a_login() -> None:
    refused = send("GET", "/cascadia")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    # A script's call shows no dialogue.
    assert "www-authenticate" not in send("GET", "/cascadia/status").headers


@pytest.mark.parametrize("user", ["", "me", "a:b"])
def test_the_password_of_a_login_is_the_key(user: str) -> None:
    expected = 401 if ":" in user else 200  # a name has no colon; what follows it is the password
    for path in ("/cascadia", "/cascadia/status"):
        assert send("GET", path, auth=(user, "the key")).status_code == expected
        assert send("GET", path, auth=(user, "another")).status_code == 401


def test_a_login_works_under_the_path_of_a_proxy() -> None:
    refused = send("GET", "/cascadia", "/models")
    assert refused.headers["www-authenticate"].startswith("Basic ")
    assert send("GET", "/cascadia/status", "/models", auth=("", "the key")).status_code == 200
    assert send("GET", "/v1/models", "/models", auth=("", "the key")).status_code == 401


def test_a_bearer_token_is_the_key_as_everywhere() -> None:
    headers = {"authorization": "Bearer the key"}
    assert send("GET", "/cascadia/status", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/cascadia"), ("GET", "/v1/models"), ("GET", "/cascadiax")],
)
def test_a_login_counts_for_reading_the_page_alone(method: str, path: str) -> None:
    assert send(method, path, auth=("", "the key")).status_code == 401


@pytest.mark.parametrize("value", ["Basic", "Basic ???", "Basic dGhlIGtleQ==", "Digest x"])
def test_a_login_that_cannot_be_read_is_refused(value: str) -> None:
    assert send("GET", "/cascadia", headers={"authorization": value}).status_code == 401
