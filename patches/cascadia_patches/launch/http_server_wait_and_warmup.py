"""AFTER hook on http_server._wait_and_warmup: what is served, once it is served.

Upstream: warms the server up in a thread of its own and says that it is ready.
We need: the cascade's own summary at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.server_args import ServerArgs

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def announce(
        _result: None, server_args: ServerArgs, *_args: object, **_options: object
    ) -> None:
        server.announce(server_args)

    return announce


PATCH = PatchSpec(
    target="sglang.srt.entrypoints.http_server._wait_and_warmup",
    hook_type="after",
    kind="function",
    parameters=("server_args",),
    build=_build,
    reason="the operator wants to know what serves, and where",
    drop_when="SGLang calls its plugins when it is ready",
)
