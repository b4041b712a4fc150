"""AFTER hook on TokenizerManager.init_ipc_channels: one socket a worker.

Upstream: opens the one socket to the scheduler and the one from the detokenizer.
We need: a socket to each worker; the detokenizer's is shared by all. SGLang's own socket to the
scheduler stays without a peer.
"""

from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(server: Any) -> Callable[..., None]:
    def open_worker_sockets(_result: None, manager: Any, *_args: Any) -> None:
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
