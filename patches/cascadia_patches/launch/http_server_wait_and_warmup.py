"""AFTER hook on http_server._wait_and_warmup: what is served, once it is served.

Upstream: warms the server up in a thread of its own and says that it is ready.
We need: the cascade's own summary at that moment.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(server: Any) -> Callable[..., None]:
    def announce(_result: None, server_args: Any, *_args: Any, **_options: Any) -> None:
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
