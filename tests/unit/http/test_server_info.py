"""`/server_info` tells no key."""

import asyncio
from types import SimpleNamespace
from typing import Any

import fastapi
import httpx
import pytest
from sglang.srt.entrypoints import http_server

from cascadia_sglang.http.server_info import REDACTED, server_info_routes

KEY, ADMIN_KEY = "the key", "admin"


async def sglang_info() -> dict[str, Any]:
    state = {"admin_api_key": ADMIN_KEY, "api_key": None, "tp_size": 1}
    return {
        "api_key": KEY,
        "admin_api_key": ADMIN_KEY,
        "ssl_keyfile_password": None,
        "model_path": "admin",
        "launch_command": f"--model-path small --api-key '{KEY}' --admin-api-k={ADMIN_KEY}",
        "internal_states": [state],
    }


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_a_key_is_told_neither_as_a_flag_nor_in_the_command(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "server_info", sglang_info)
    args = SimpleNamespace(api_key=KEY, admin_api_key=ADMIN_KEY, ssl_keyfile_password=None)
    app = fastapi.FastAPI()
    app.include_router(server_info_routes(args))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get(path)

    assert asyncio.run(ask()).json() == {
        "api_key": REDACTED,
        "admin_api_key": REDACTED,
        "ssl_keyfile_password": None,
        "model_path": "admin",
        "launch_command": "--model-path small --api-key '<redacted>' '--admin-api-k=<redacted>'",
        "internal_states": [{"admin_api_key": REDACTED, "api_key": None, "tp_size": 1}],
    }


async def test_a_command_that_no_shell_reads_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def info() -> dict[str, Any]:
        return {"launch_command": f"--admin-api-key '{ADMIN_KEY}"}

    monkeypatch.setattr(http_server, "server_info", info)
    routes = server_info_routes(SimpleNamespace(admin_api_key=ADMIN_KEY)).routes
    assert await routes[0].endpoint() == {"launch_command": REDACTED}
