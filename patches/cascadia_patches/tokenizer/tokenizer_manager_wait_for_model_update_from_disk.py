"""AROUND hook on TokenizerManager._wait_for_model_update_from_disk: one tier's weights.

Upstream: sends the update, waits for one reply, and takes the path as its own name.
We need: a reply of every worker of the tier; the server's own name stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., Any]:
    async def update(_original: Callable[..., Any], _manager: object, obj: BaseReq) -> Any:
        from cascadia_sglang.http.trace import as_http_error

        with as_http_error():
            replies = await server.control.call("weights from disk", obj)
        message = " | ".join(reply.message for reply in replies)
        paused = [reply.num_paused_requests for reply in replies]
        return all(reply.success for reply in replies), message, paused

    return update


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._wait_for_model_update_from_disk",
    hook_type="around",
    kind="async function",
    parameters=("obj",),
    build=_build,
    reason="a tier has several workers, and the server is not named after one tier",
    drop_when="SGLang serves several models from one server",
)
