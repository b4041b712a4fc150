"""AROUND hook on FanOutCommunicator.handle_recv: a reply finds the call it answers.

Upstream: counts a reply towards the call that waits now.
We need: a late reply dropped, for it answers an earlier call.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(server: Any) -> Callable[..., None]:
    def receive(_original: Callable[..., None], _communicator: Any, recv_obj: Any) -> None:
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
