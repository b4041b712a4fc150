"""AROUND hook on TokenizerManager.update_request_meta_info: take the worker's reports out.

Upstream: accumulates a list a customised key, chunk by chunk, and shows it to the client.
We need: the last report under each of our keys, for the router alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.messages import REPORT_KEYS

if TYPE_CHECKING:
    from sglang.srt.managers.tokenizer_manager import ReqState, TokenizerManager

    from cascadia_sglang.server.server import CascadeServer


def _build(_server: CascadeServer) -> Callable[..., None]:
    def take_report(
        original: Callable[..., None],
        manager: TokenizerManager,
        meta_info: dict[str, Any],
        state: ReqState,
        customized_info: dict[str, Any],
        index: int,
        finish_reason: Any,
    ) -> None:
        for key in REPORT_KEYS & customized_info.keys():
            reports = customized_info[key][index]
            if reports:
                meta_info[key] = reports[-1]
            customized_info = {k: v for k, v in customized_info.items() if k != key}
        if customized_info:
            original(manager, meta_info, state, customized_info, index, finish_reason)

    return take_report


PATCH = PatchSpec(
    target="sglang.srt.managers.tokenizer_manager.TokenizerManager.update_request_meta_info",
    hook_type="around",
    kind="function",
    parameters=("meta_info", "state", "customized_info", "index", "finish_reason"),
    build=_build,
    reason="the report is a message to the router, not part of the answer",
    drop_when="SGLang hands customised output to plugins",
)
