"""The parsers that fit a model, by SGLang's own tables."""

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from sglang.srt.entrypoints.openai.protocol import Tool
from sglang.srt.function_call.base_format_detector import BaseFormatDetector
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.template_detection import (
    detect_reasoning_parser,
    detect_reasoning_pattern,
    detect_tool_call_parser,
)

_ARGUMENTS = {"city": "Paris", "days": 3}
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
_QUESTION = {"role": "user", "content": "How will the weather be?"}
_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "get_weather", "arguments": _ARGUMENTS},
        }
    ],
}
_ANSWER = {"role": "assistant", "content": "It will be fine."}

# Renders a conversation with tools by a model's template; None where that takes no such one.
Render = Callable[[list[dict[str, Any]], list[dict[str, Any]]], str | None]


def detected_parsers(
    template: str, vocabulary: Mapping[str, int], render: Render
) -> dict[str, str]:
    """Names of parsers by flag: `tool_call_parser` and `reasoning_parser`, so far as it can tell.

    SGLang's rules for templates come first. They know no rule for some formats of tool calls, such
    as Qwen2.5's. There the parser is the first of SGLang's table that reads a call as the template
    writes it.

    Args:
        vocabulary: of the model's tokenizer.
        render: by this template.
    """
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary)
    forced, toggle = detect_reasoning_pattern(template)
    parsers = {
        "tool_call_parser": detect_tool_call_parser(template, tokenizer, toggle, forced)
        or _parser_of_calls(render),
        "reasoning_parser": detect_reasoning_parser(template, tokenizer, toggle, forced),
    }
    return {flag: name for flag, name in parsers.items() if name is not None}


def _parser_of_calls(render: Render) -> str | None:
    written = render([_QUESTION, _CALL], [_TOOL])
    plain = render([_QUESTION, _ANSWER], [_TOOL])
    if written is None or plain is None:
        return None
    # What the template says of tools is the same in both; the call begins where they part.
    start = next(
        (index for index, pair in enumerate(zip(written, plain, strict=False)) if len({*pair}) > 1),
        min(len(written), len(plain)),
    )
    call = written[start:]
    names = FunctionCallParser.ToolCallParserEnum
    return next((name for name, kind in names.items() if _reads(kind, call)), None)


def _reads(kind: type[BaseFormatDetector], call: str) -> bool:
    """Whether a parser finds the call, whole and alone."""
    try:
        parser = kind()
        if not parser.has_tool_call(call):
            return False
        calls = parser.detect_and_parse(call, [Tool(**_TOOL)]).calls
        return [
            (parsed_call.name, json.loads(parsed_call.parameters)) for parsed_call in calls
        ] == [("get_weather", _ARGUMENTS)]
    except Exception:  # noqa: BLE001  of any parser, which was given what another one's model writes
        return False
