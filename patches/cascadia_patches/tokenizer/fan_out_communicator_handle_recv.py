"""AROUND hook on FanOutCommunicator.handle_recv: a reply finds the call it answers.

Upstream: counts a reply towards the call that waits now.
We need: a late reply dropped, for it answers an earlier call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.io_struct import BaseReq

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def receive(_original: Callable[..., None], _communicator: object, recv_obj: BaseReq) -> None:
        server.control.receive(recv_obj)

    return receive


PATCH = PatchSpec(
    target="sglang.srt.managers.communicator.FanOutCommunicator.handle_recv",
    hook_type="around",
    kind="function",
    parameters=("recv_obj",),
    build=_build,
    reason="replies of several workers must not be taken for one another",
    drop_when="SGLang serves several models from one server",
)
