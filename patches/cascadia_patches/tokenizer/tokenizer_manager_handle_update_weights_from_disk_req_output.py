"""AROUND hook on TokenizerManager._handle_update_weights_from_disk_req_output: as handle_recv.

Upstream: completes the one update that is on its way.
We need: the same as for every other control reply.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(server: Any) -> Callable[..., None]:
    def receive(_original: Callable[..., None], _manager: Any, recv_obj: Any) -> None:
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
