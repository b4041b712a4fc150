"""AROUND hook on TokenizerManager._async_dispatch_to_scheduler: choose the worker.

Upstream: sends a message to the one scheduler and awaits the send.
We need: the same choice as in `dispatch_to_scheduler`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def dispatch(_original: Callable[..., Any], _manager: object, obj: BaseReq) -> None:
        from sglang.srt.managers.io_struct import async_sock_send

        for socket in server.dispatch.sockets_for(obj):
            await async_sock_send(socket, obj)

    return dispatch


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._async_dispatch_to_scheduler",
    hook_type="around",
    kind="async function",
    parameters=("obj",),
    build=_build,
    reason="every worker has its own input",
    drop_when="SGLang serves several models from one server",
)
