"""AROUND hook on InternlmDetector.parse_streaming_increment: the marker of a later call.

Upstream: after a call, drops text without a whole marker. A marker is several tokens, so its
beginning is dropped too, and the call with it.
We need: every call, as the unstreamed answer has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.protocol import Tool
    from sglang.srt.function_call.internlm_detector import InternlmDetector

    from cascadia_sglang.server.server import CascadeServer


def _build(_server: CascadeServer) -> Callable[..., Any]:
    from sglang.srt.function_call.core_types import StreamingParseResult

    def parse(
        original: Callable[..., Any], detector: InternlmDetector, new_text: str, tools: list[Tool]
    ) -> Any:
        text, marker = detector._buffer + new_text, detector.bot_token
        if detector.current_tool_id <= 0 or marker in text:
            return original(detector, new_text, tools)
        lengths = range(min(len(text), len(marker) - 1), 0, -1)
        begun = next((n for n in lengths if text.endswith(marker[:n])), 0)
        detector._buffer = text[len(text) - begun :]
        return StreamingParseResult()

    return parse


PATCH = PatchSpec(
    target="sglang.srt.function_call.internlm_detector.InternlmDetector.parse_streaming_increment",
    hook_type="around",
    kind="function",
    parameters=("new_text", "tools"),
    build=_build,
    reason="a stream has every call that the unstreamed answer has",
    drop_when="SGLang's streams have all calls of an InternLM model",
)
