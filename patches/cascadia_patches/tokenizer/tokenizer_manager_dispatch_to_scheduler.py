"""AROUND hook on TokenizerManager._dispatch_to_scheduler: choose the worker.

Upstream: sends a message to the one scheduler.
We need: an attempt's messages at its worker, control messages at all of them.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(server: Any) -> Callable[..., None]:
    def dispatch(_original: Callable[..., None], _manager: Any, obj: Any) -> None:
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
