"""Compares two chat templates by their renderings of some conversations."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from cascadia_sglang.model_checks.chat_template import ChatTemplate, Message, Rendered, rendered

_AROUND = 24


def _said(role: str, content: str, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


_SYSTEM = _said("system", "You answer in one sentence.")
_FIRST = _said("user", "What is the capital of France?")
_ANSWER = _said("assistant", "It is Paris.")
_NEXT = _said("user", "And of Italy?")
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
    _said("assistant", "", tool_calls=[_CALL]),
    _said("tool", '{"degrees": 21}', tool_call_id="call_00001", name="get_weather"),
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


def plain_difference(first: ChatTemplate, other: ChatTemplate) -> str | None:
    """How two templates differ on a plain conversation of four turns, in words.

    None where they do not.
    """
    pair = [_of(template, PLAIN) for template in (first, other)]
    if all(one.error is not None for one in pair):
        pair = [_of(template, _PLAIN_WITHOUT_SYSTEM) for template in (first, other)]
    return _difference(*pair)


def rare_difference(first: ChatTemplate, other: ChatTemplate) -> str | None:
    """On which of the other conversations they differ, and how on the first of these, in words."""
    found = {}
    for conversation in RARE:
        told = _difference(_of(first, conversation), _of(other, conversation))
        if told is not None:
            found[conversation.kind] = told
    if not found:
        return None
    return f"{', '.join(found)}: {next(iter(found.values()))}"


def _of(template: ChatTemplate, conversation: Conversation) -> Rendered:
    return rendered(template, conversation.messages, conversation.tools, **conversation.variables)


def _difference(first: Rendered, other: Rendered) -> str | None:
    if first.error is not None or other.error is not None:
        if first.error is not None and other.error is not None:
            return None
        return " and ".join(
            "a prompt" if one.error is None else f"an error ({one.error})" for one in (first, other)
        )
    if first.prompt == other.prompt:
        return None
    pairs = itertools.zip_longest(first.prompt, other.prompt)
    place = next(index for index, (a, b) in enumerate(pairs) if a != b)
    start = max(0, place - _AROUND)
    shown = [one.prompt[start : place + _AROUND] for one in (first, other)]
    return f"at character {place + 1}, {shown[0]!r} and {shown[1]!r}"
