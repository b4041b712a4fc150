"""Compares two chat templates by their renderings of some conversations."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.model_checks.chat_template import (
    ChatTemplate,
    Message,
    RenderedPrompt,
    rendered,
)

_AROUND = 24


def _message(role: str, content: str, **fields: Any) -> Message:
    return {"role": role, "content": content, **fields}


_SYSTEM = _message("system", "You answer in one sentence.")
_FIRST = _message("user", "What is the capital of France?")
_ANSWER = _message("assistant", "It is Paris.")
_NEXT = _message("user", "And of Italy?")
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name."}},
            "required": ["city"],
        },
    },
}
_CALL = {
    "id": "call_00001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Rome"}},
}
_CALLED = [
    _SYSTEM,
    _NEXT,
    _message("assistant", "", tool_calls=[_CALL]),
    _message("tool", '{"degrees": 21}', tool_call_id="call_00001", name="get_weather"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is rendered, and what it stands for."""

    kind: str
    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    variables: dict[str, Any] = field(default_factory=dict)


PLAIN = Conversation(kind="a plain conversation", messages=[_SYSTEM, _FIRST, _ANSWER, _NEXT])
# Templates may refuse the system's turn.
_PLAIN_WITHOUT_SYSTEM = Conversation(kind=PLAIN.kind, messages=[_FIRST, _ANSWER, _NEXT])
RARE = (
    Conversation(kind="a conversation without a system message", messages=[_FIRST]),
    Conversation(kind="a conversation with tools", messages=[_SYSTEM, _FIRST], tools=[_TOOL]),
    Conversation(kind="a tool's answer", messages=_CALLED, tools=[_TOOL]),
    Conversation(
        kind="an answer with its reasoning",
        messages=[_FIRST, {**_ANSWER, "reasoning_content": "I know that one."}, _NEXT],
    ),
    Conversation(
        kind="a conversation with enable_thinking: false",
        messages=[_SYSTEM, _FIRST],
        variables={"enable_thinking": False},
    ),
)


def plain_difference(first: ChatTemplate, second: ChatTemplate) -> str | None:
    """How two templates differ on a plain conversation of four turns, in words.

    None where they do not.
    """
    pair = [_of(template, PLAIN) for template in (first, second)]
    if all(prompt.error is not None for prompt in pair):
        pair = [_of(template, _PLAIN_WITHOUT_SYSTEM) for template in (first, second)]
    return _difference(*pair)


def plain_refusal(template: ChatTemplate) -> str | None:
    """Why a template takes no plain conversation, with or without a system message.

    None where it takes one.
    """
    if _of(template, PLAIN).error is None:
        return None
    return _of(template, _PLAIN_WITHOUT_SYSTEM).error


def rare_difference(first: ChatTemplate, second: ChatTemplate) -> str | None:
    """On which of the other conversations they differ, and how on the first of these, in words."""
    differences = {}
    for conversation in RARE:
        words = _difference(_of(first, conversation), _of(second, conversation))
        if words is not None:
            differences[conversation.kind] = words
    if not differences:
        return None
    return f"{', '.join(differences)}: {next(iter(differences.values()))}"


def _of(template: ChatTemplate, conversation: Conversation) -> RenderedPrompt:
    return rendered(template, conversation.messages, conversation.tools, **conversation.variables)


def _difference(first: RenderedPrompt, second: RenderedPrompt) -> str | None:
    if first.error is not None or second.error is not None:
        if first.error is not None and second.error is not None:
            return None
        return " and ".join(
            "a prompt" if prompt.error is None else f"an error ({prompt.error})"
            for prompt in (first, second)
        )
    if first.prompt == second.prompt:
        return None
    pairs = itertools.zip_longest(first.prompt, second.prompt)
    index = next(index for index, (a, b) in enumerate(pairs) if a != b)
    start = max(0, index - _AROUND)
    shown = [prompt.prompt[start : index + _AROUND] for prompt in (first, second)]
    return f"at character {index + 1}, {shown[0]!r} and {shown[1]!r}"
