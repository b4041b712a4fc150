"""AFTER hook on TokenizerManager.init_ipc_channels: one socket a worker.

Upstream: opens the one socket to the scheduler and the one from the detokenizer.
We need: a socket to each worker; the detokenizer's is shared by all. SGLang's own socket to the
scheduler stays without a peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.server.start_errors import one_line_exit

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def open_worker_sockets(_result: None, manager: TokenizerManager, *_args: object) -> None:
        with one_line_exit():
            server.connect(manager)

    return open_worker_sockets


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.init_ipc_channels",
    hook_type="after",
    kind="function",
    parameters=("port_args",),
    build=_build,
    reason="every worker has its own input",
    drop_when="SGLang serves several models from one server",
)
