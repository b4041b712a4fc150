"""AROUND hook on TokenizerManager._dispatch_to_scheduler: choose the worker.

Upstream: sends a message to the one scheduler.
We need: an attempt's messages at its worker, control messages at all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def dispatch(_original: Callable[..., None], _manager: object, obj: BaseReq) -> None:
        from sglang.srt.managers.io_struct import sock_send

        for socket in server.dispatch.sockets_for(obj):
            sock_send(socket, obj)

    return dispatch


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._dispatch_to_scheduler",
    hook_type="around",
    kind="function",
    parameters=("obj",),
    build=_build,
    reason="every worker has its own input",
    drop_when="SGLang serves several models from one server",
)
