"""AROUND hook on TokenizerManager.abort_request: a caller's rid stands for its attempts.

Upstream: aborts the request of this rid, or all.
We need: the attempts that run under the caller's rid ended, and no further climb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(server: CascadeServer) -> Callable[..., None]:
    def abort(
        original: Callable[..., None],
        manager: TokenizerManager,
        rid: str = "",
        abort_all: bool = False,
    ) -> None:
        attempts = server.door.abort(rid, abort_all)
        for attempt_rid in [rid] if attempts is None else attempts:
            original(manager, attempt_rid, abort_all)

    return abort


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.abort_request",
    hook_type="around",
    kind="function",
    parameters=("rid", "abort_all"),
    build=_build,
    reason="the engine knows attempts, the caller knows its own rid",
    drop_when="SGLang lets a plugin answer requests",
)
