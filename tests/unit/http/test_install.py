"""The routes and the middleware in an application, as the server puts them there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import fastapi
import httpx
import pytest
from sglang.srt.utils.auth import add_api_key_middleware

from cascadia_sglang.http.install import install
from cascadia_sglang.server.server import CascadeServer
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.controller.fakes import CLUSTER

KEY, ADMIN_KEY = "the key", "the admin key"


def installed(api_key: str | None = KEY, *, enable_trace: bool = False) -> fastapi.FastAPI:
    """An application with the routes of a server that has no workers yet."""
    server = CascadeServer(make_cascade("small", "large"), None, {}, {}, is_forking=False)  # type: ignore[arg-type]
    launcher: Any = SimpleNamespace(cluster=CLUSTER)
    server.fleet._starts.launcher = launcher
    manager: Any = SimpleNamespace(
        served_model_name="served",
        enable_metrics=False,
        enable_trace=enable_trace,
        rid_to_state={},
        server_args=SimpleNamespace(api_key=api_key, admin_api_key=ADMIN_KEY),
        auto_create_handle_loop=lambda: None,
    )
    app = fastapi.FastAPI()
    app.state.server = server
    install(app, server, manager)
    if api_key is not None:
        add_api_key_middleware(app, api_key=api_key, admin_api_key=ADMIN_KEY)
    return app


def send(app: fastapi.FastAPI, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return [await client.request(method, path, **how) for method, path, how in requests]

    return asyncio.run(ask())


BEARER = {"headers": {"authorization": f"Bearer {KEY}"}}
LOGIN = {"auth": ("", KEY)}


@pytest.mark.parametrize(
    "path",
    [
        "/cascadia",
        "/cascadia/page/app.js",
        "/cascadia/live",
        "/cascadia/recent",
        "/cascadia/status",
    ],
)
def test_what_the_page_reads_has_the_guard_of_the_status(path: str) -> None:
    bare, keyed, logged_in, wrong = send(
        installed(),
        ("GET", path, {}),
        ("GET", path, BEARER),
        ("GET", path, LOGIN),
        ("GET", path, {"auth": ("", "another")}),
    )
    assert (bare.status_code, wrong.status_code) == (401, 401)
    assert (keyed.status_code, logged_in.status_code) == (200, 200)
    assert ("www-authenticate" in bare.headers) == (path == "/cascadia")


def test_without_a_key_the_page_is_open() -> None:
    (page, live) = send(
        installed(api_key=None), ("GET", "/cascadia", {}), ("GET", "/cascadia/live", {})
    )
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert live.json()["status"]["tiers"][0]["name"] == "small"
    assert live.json()["has_sample"] is False


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cascadia/thresholds", {"thresholds": [0.5]}),
        ("/cascadia/discarded", {"rid": "a", "begin": True}),
    ],
)
def test_a_login_changes_nothing(path: str, body: dict[str, Any]) -> None:
    admin = {"headers": {"authorization": f"Bearer {ADMIN_KEY}"}}
    logged_in, as_admin, granted = send(
        installed(),
        ("POST", path, {"json": body, **LOGIN}),
        ("POST", path, {"json": body, "auth": ("", ADMIN_KEY)}),
        ("POST", path, {"json": body, **admin}),
    )
    assert (logged_in.status_code, as_admin.status_code) == (401, 401)
    assert granted.status_code == 200


def test_spans_are_opened_where_sglang_traces() -> None:
    for enable_trace in (False, True):
        app = installed(enable_trace=enable_trace)
        spans = app.state.server.router.services.spans
        assert (spans._tracer is not None) == enable_trace
