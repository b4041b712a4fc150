"""The tool that the tour calls, and the texts that the demo's models are made to write.

The models know neither tools nor reasoning: a grammar has them write both. One text alone fits each
schema here, such that an answer ends.
"""

import json
from typing import Any

NAME = "weather"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "enum": [{"city": "Paris"}],
}
CHAT_TOOL = {"type": "function", "function": {"name": NAME, "parameters": PARAMETERS}}
# SGLang keeps a call to its schema only where the tool is strict.
STRICT_CHAT_TOOL = {
    "type": "function",
    "function": {"name": NAME, "parameters": PARAMETERS, "strict": True},
}
STRICT_RESPONSES_TOOL = {
    "type": "function",
    "name": NAME,
    "parameters": PARAMETERS,
    "strict": True,
}
STRICT_ANTHROPIC_TOOL = {"name": NAME, "input_schema": PARAMETERS, "strict": True}

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "enum": [{"answer": "dcba"}],
}
JSON_ANSWER = '{"answer":"dcba"}'

Call = tuple[int, str, Any]
PARIS: Call = (0, NAME, {"city": "Paris"})
ROME: Call = (1, NAME, {"city": "Rome"})


def call_regex(city: str) -> str:
    """Of a call as the parser `qwen` reads it."""
    body = f'\\{{"name": "{NAME}", "arguments": \\{{"city": "{city}"\\}}\\}}'
    return f"<tool_call>\\n{body}\\n</tool_call>"


def arguments_of(text: str) -> Any:
    """What a call's arguments say; text that is no JSON stays text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
