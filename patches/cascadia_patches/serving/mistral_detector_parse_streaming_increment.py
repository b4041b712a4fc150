"""AROUND hook on MistralDetector.parse_streaming_increment: the later calls of an array.

Upstream: reads `[TOOL_CALLS] [{...}, {...}]` as far as its first call. What follows has no marker,
so it leaves as text.
We need: every call of the array, as the unstreamed answer has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascadia_patches.spec import PatchSpec
from cascadia_sglang.sglang_state import IN_ARRAY

if TYPE_CHECKING:
    from sglang.srt.entrypoints.openai.protocol import Tool
    from sglang.srt.function_call.mistral_detector import MistralDetector

    from cascadia_sglang.server.server import CascadeServer


def _build(_server: CascadeServer) -> Callable[..., Any]:
    from sglang.srt.function_call.base_format_detector import BaseFormatDetector
    from sglang.srt.function_call.core_types import StreamingParseResult

    def parse(
        original: Callable[..., Any], detector: MistralDetector, new_text: str, tools: list[Tool]
    ) -> Any:
        if detector.current_tool_id <= 0:
            # Another format has a marker for each call.
            IN_ARRAY.set(detector, detector.bot_token in detector._buffer + new_text)
        if detector.current_tool_id <= 0 or not IN_ARRAY.get(detector):
            return original(detector, new_text, tools)
        text = (detector._buffer + new_text).lstrip()
        if text.startswith("]"):
            IN_ARRAY.set(detector, False)
            detector._buffer = ""
            return original(detector, text[1:], tools)
        detector._buffer = text
        after_comma = text.removeprefix(",").lstrip()
        if not after_comma:
            return StreamingParseResult()
        # The separator as the parser of arrays knows it, however it was written.
        detector._buffer = detector.tool_call_separator + after_comma
        return BaseFormatDetector.parse_streaming_increment(detector, "", tools)

    return parse


PATCH = PatchSpec(
    target="sglang.srt.function_call.mistral_detector.MistralDetector.parse_streaming_increment",
    hook_type="around",
    kind="function",
    parameters=("new_text", "tools"),
    build=_build,
    reason="a stream has every call that the unstreamed answer has",
    drop_when="SGLang's streams have all calls of a Mistral model's array",
)
