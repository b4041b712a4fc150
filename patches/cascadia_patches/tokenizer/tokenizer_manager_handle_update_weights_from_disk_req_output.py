"""AROUND hook on TokenizerManager._handle_update_weights_from_disk_req_output: as handle_recv.

Upstream: completes the one update that is on its way.
We need: the same as for every other control reply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def receive(_original: Callable[..., None], _manager: object, recv_obj: BaseReq) -> None:
        server.control.receive(recv_obj)

    return receive


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager._handle_update_weights_from_disk_req_output",
    hook_type="around",
    kind="function",
    parameters=("recv_obj",),
    build=_build,
    reason="replies of several workers must not be taken for one another",
    drop_when="SGLang serves several models from one server",
)
