"""BEFORE hook on http_server._setup_and_run_http_server: routes and response headers.

Upstream: configures the application and serves it.
We need: the cascade's routes and its middleware in the application before it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def add_routes(
        _server_args: object,
        tokenizer_manager: TokenizerManager,
        *_args: object,
        **_options: object,
    ) -> None:
        from sglang.srt.entrypoints.http_server import app

        from cascadia_sglang.http.install import install

        install(app, server, tokenizer_manager)

    return add_routes


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.http_server._setup_and_run_http_server",
    hook_type="before",
    kind="function",
    parameters=("server_args", "tokenizer_manager"),
    build=_build,
    reason="status, model list and response headers belong to this server's application",
    drop_when="SGLang lets a plugin add routes and middleware",
)
