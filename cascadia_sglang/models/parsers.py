"""The parsers that SGLang finds in a model's chat template."""

from collections.abc import Mapping
from types import SimpleNamespace

from sglang.srt.parser.template_detection import (
    detect_reasoning_parser,
    detect_reasoning_pattern,
    detect_tool_call_parser,
)


def detected_parsers(template: str, vocabulary: Mapping[str, int]) -> dict[str, str]:
    """Names of parsers by flag: `tool_call_parser` and `reasoning_parser`, so far as it can tell.

    Args:
        vocabulary: of the model's tokenizer.
    """
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary)
    forced, toggle = detect_reasoning_pattern(template)
    found = {
        "tool_call_parser": detect_tool_call_parser(template, tokenizer, toggle, forced),
        "reasoning_parser": detect_reasoning_parser(template, tokenizer, toggle, forced),
    }
    return {flag: name for flag, name in found.items() if name is not None}
