"""AROUND hook on FanOutCommunicator.__call__: a control call to the workers there are.

Upstream: sends once and waits for a fixed number of replies, without limit.
We need: members fixed at the start, their ends counted, a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.communicator import FanOutCommunicator
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def call(
        _original: Callable[..., Any], communicator: FanOutCommunicator, obj: BaseReq
    ) -> list[Any]:
        from cascadia_sglang.http.trace import as_http_error

        with as_http_error():
            replies: list[Any] = await server.control.call(communicator, obj)
        return replies

    return call


PATCH = PatchSpec(
    target="sglang.srt.managers.communicator.FanOutCommunicator.__call__",
    hook_type="around",
    kind="async function",
    parameters=("obj",),
    build=_build,
    reason="a control call must reach every worker and wait for none that is gone",
    drop_when="SGLang serves several models from one server",
)
