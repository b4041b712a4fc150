"""`anthropic.messages`: a stream says what the whole message says."""

from dataclasses import dataclass
from typing import Any

import anthropic
import pytest
from anthropic.types import Message

from tests.system.client_tour.conftest import TouredServer
from tests.system.client_tour.tools import (
    ANSWER_SCHEMA,
    JSON_ANSWER,
    NAME,
    STRICT_ANTHROPIC_TOOL,
)
from tests.system.client_tour.ways import STREAMS, Answers, Way

pytestmark = pytest.mark.sglang


@dataclass(frozen=True)
class Said:
    """A message: its blocks in order, why it ended, and (input, output) tokens."""

    blocks: tuple[tuple[str, Any], ...]
    stop_reason: str | None
    tokens: tuple[int, int]


def content_of(message: Message) -> Said:
    blocks: list[tuple[str, Any]] = []
    for block in message.content:
        if block.type == "tool_use":
            assert block.id
            blocks.append((f"call {block.name}", block.input))
        elif block.type == "text":
            blocks.append(("text", block.text))
        else:
            assert block.type == "thinking"
            blocks.append(("thinking", block.thinking))
    usage = message.usage
    return Said(tuple(blocks), message.stop_reason, (usage.input_tokens, usage.output_tokens))


QUESTION: dict[str, Any] = {
    "model": "cascadia",
    "messages": [{"role": "user", "content": "rev abcd"}],
    "max_tokens": 200,
    "temperature": 0,
    "thinking": {"type": "disabled"},
}
CALL = ((f"call {NAME}", {"city": "Paris"}),)


def tools(**choice: Any) -> dict[str, Any]:
    return {"tools": [STRICT_ANTHROPIC_TOOL], "tool_choice": choice}


JSON_FORMAT = {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}
CASES: dict[str, tuple[dict[str, Any], tuple[Any, str]]] = {
    "text": ({}, ((("text", "dcba"),), "end_turn")),
    "cut": ({"max_tokens": 2}, ((("text", "dc"),), "max_tokens")),
    # As SGLang has it; Anthropic's own API says `stop_sequence`.
    "stop sequence": ({"stop_sequences": ["b"]}, ((("text", "dc"),), "end_turn")),
    "json schema": ({"output_config": JSON_FORMAT}, ((("text", JSON_ANSWER),), "end_turn")),
    "any tool": (tools(type="any"), (CALL, "tool_use")),
    "any one tool": (tools(type="any", disable_parallel_tool_use=True), (CALL, "tool_use")),
    "named tool": (tools(type="tool", name=NAME), (CALL, "tool_use")),
    "no tool": (tools(type="none"), ((("text", "dcba"),), "end_turn")),
    # The models end no thought: where thinking is on, all that they say is one.
    "an endless thought": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ((("thinking", "dcba"),), "end_turn"),
    ),
}


@pytest.fixture(scope="module")
def answers(anthropic_client: anthropic.Anthropic) -> Answers[Any, Said]:
    def ask(case: Any, way: Way) -> Said:
        body = {**QUESTION, **case[0], "extra_headers": way.headers}
        # The client has no parameter for it.
        body["extra_body"] = {"temperature": body.pop("temperature")}
        if way.mode is None:
            return content_of(anthropic_client.messages.create(**body))
        with anthropic_client.messages.stream(**body) as stream:
            return content_of(stream.get_final_message())

    return Answers(CASES, ask)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_message_is_as_asked(answers: Answers[Any, Said], name: str, tier: str) -> None:
    message = answers.of(name, Way(None, tier))
    assert (message.blocks, message.stop_reason) == CASES[name][1]


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_message_says(
    answers: Answers[Any, Said], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)


def test_the_clients_text_stream_is_the_text(
    anthropic_client: anthropic.Anthropic, way: Way
) -> None:
    body = {**QUESTION, "extra_headers": way.headers}
    body["extra_body"] = {"temperature": body.pop("temperature")}
    with anthropic_client.messages.stream(**body) as stream:
        assert "".join(stream.text_stream) == "dcba"
        assert way.keep_alive_s or stream.response.headers["x-cascadia-tier"] == way.tier


@pytest.fixture(scope="module")
def events(toured: TouredServer) -> Answers[dict[str, Any], list[str]]:
    """The lines of each stream of a call."""

    def ask(case: dict[str, Any], way: Way) -> list[str]:
        body = {**QUESTION, **case, "stream": True}
        with toured.server.client() as client:
            return client.post("/v1/messages", json=body, headers=way.headers).text.splitlines()

    return Answers({"any tool": CASES["any tool"][0]}, ask, STREAMS.values())


def test_events_come_in_the_order_of_the_api(
    events: Answers[dict[str, Any], list[str]], way: Way
) -> None:
    """Between the first and the last one, blocks begin, grow and end one after another."""
    lines = events.of("any tool", way)
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert (": keep-alive" in lines) == bool(way.keep_alive_s)
    assert names[0] == "message_start"
    names = [name for name in names if name != "ping"]
    assert names[1] == "content_block_start"
    assert set(names[2:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_tokens_are_counted(anthropic_client: anthropic.Anthropic) -> None:
    """The answer's marker is one of them."""
    counted = anthropic_client.messages.count_tokens(
        model="cascadia", messages=QUESTION["messages"]
    )
    assert counted.input_tokens == len("rev abcd") + 1
