"""`openai.responses`: a stream's events and its last response say what the whole response says."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from tests.system.client_tour.tools import (
    ANSWER_SCHEMA,
    JSON_ANSWER,
    NAME,
    STRICT_RESPONSES_TOOL,
)
from tests.system.client_tour.ways import Answers, Way

pytestmark = pytest.mark.sglang


@dataclass(frozen=True)
class Said:
    """A response: its status, its items in order, and (input, output, reasoning) tokens."""

    status: str | None
    items: tuple[tuple[str, Any], ...]
    tokens: tuple[int, int, int]


def content_of(response: Response) -> Said:
    items: list[tuple[str, Any]] = []
    for item in response.output:
        if item.type == "function_call":
            items.append((f"call {item.name}", json.loads(item.arguments)))
        elif item.type == "message":
            items.append(("text", "".join(part.text for part in item.content)))
        else:
            items.append((item.type, "".join(part.text for part in item.content or [])))
    usage = response.usage
    assert usage is not None
    reasoning = usage.output_tokens_details.reasoning_tokens
    return Said(response.status, tuple(items), (usage.input_tokens, usage.output_tokens, reasoning))


def content_in_events(events: Iterable[ResponseStreamEvent]) -> Said:
    """What the last response says, once the deltas have been seen to say the same."""
    kinds: list[str] = []
    deltas: dict[int, str] = {}
    dones: dict[int, str] = {}
    names: dict[int, str] = {}
    last: Response | None = None
    for number, event in enumerate(events):
        assert event.sequence_number == number
        kinds.append(event.type)
        if event.type == "response.output_item.added":
            names[event.output_index] = event.item.type
            if event.item.type == "function_call":
                names[event.output_index] = f"call {event.item.name}"
        elif event.type.endswith(".delta"):
            assert not last
            deltas[event.output_index] = deltas.get(event.output_index, "") + event.delta
        elif event.type == "response.function_call_arguments.done":
            dones[event.output_index] = event.arguments
        elif event.type in ("response.output_text.done", "response.reasoning_text.done"):
            dones[event.output_index] = event.text
        elif event.type in ("response.completed", "response.incomplete"):
            last = event.response
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert last is not None
    assert kinds[-1] in ("response.completed", "response.incomplete")
    answer = content_of(last)
    assert deltas == dones
    assert len(deltas) == len(answer.items)
    for index, (kind, value) in enumerate(answer.items):
        assert names[index] == ("message" if kind == "text" else kind)
        assert (json.loads(deltas[index]) if kind.startswith("call") else deltas[index]) == value
    return answer


QUESTION: dict[str, Any] = {
    "model": "cascadia",
    "input": "rev abcd",
    "temperature": 0,
    "max_output_tokens": 200,
    "reasoning": {"effort": "none"},
}
CALL = ("completed", ((f"call {NAME}", {"city": "Paris"}),))
JSON_SCHEMA = {"format": {"type": "json_schema", "name": "answer", "schema": ANSWER_SCHEMA}}
CASES: dict[str, tuple[dict[str, Any], tuple[str, Any]]] = {
    "text": ({}, ("completed", (("text", "dcba"),))),
    # SGLang writes two tokens fewer than it is asked for.
    "cut": ({"max_output_tokens": 4}, ("incomplete", (("text", "dc"),))),
    "json schema": ({"text": JSON_SCHEMA}, ("completed", (("text", JSON_ANSWER),))),
    "text beside tools": (
        {"tools": [{**STRICT_RESPONSES_TOOL, "strict": False}]},
        ("completed", (("text", "dcba"),)),
    ),
    "required": ({"tools": [STRICT_RESPONSES_TOOL], "tool_choice": "required"}, CALL),
    "named": (
        {
            "tools": [STRICT_RESPONSES_TOOL],
            "tool_choice": {"type": "function", "name": NAME},
        },
        CALL,
    ),
    "an endless thought": ({"reasoning": openai.omit}, ("completed", (("reasoning", "dcba"),))),
}


@pytest.fixture(scope="module")
def answers(openai_client: openai.OpenAI) -> Answers[Any, Said]:
    def ask(case: Any, way: Way) -> Said:
        body: dict[str, Any] = {**QUESTION, **case[0], "extra_headers": way.headers}
        if way.mode is None:
            return content_of(openai_client.responses.create(**body))
        return content_in_events(openai_client.responses.create(**body, stream=True))

    return Answers(CASES, ask)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_response_is_as_asked(answers: Answers[Any, Said], name: str, tier: str) -> None:
    response = answers.of(name, Way(None, tier))
    assert (response.status, response.items) == CASES[name][1]


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_response_says(
    answers: Answers[Any, Said], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)


def test_the_headers_of_a_stream_name_the_tier(openai_client: openai.OpenAI, way: Way) -> None:
    if way.keep_alive_s:
        pytest.skip("they may leave before the tier is known")
    create = openai_client.responses.with_raw_response.create
    whole = create(**QUESTION, extra_headers=way.whole.headers)
    assert whole.headers["x-cascadia-tier"] == way.tier
    streamed = create(**QUESTION, stream=True, extra_headers=way.headers)
    assert streamed.headers["x-cascadia-tier"] == way.tier
