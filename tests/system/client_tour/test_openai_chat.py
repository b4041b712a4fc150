"""`openai.chat.completions`: a stream says what the whole answer says."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from tests.system.client_tour.chat_answers import ChatAnswer, streamed_chat, whole_chat
from tests.system.client_tour.tools import (
    ANSWER_SCHEMA,
    CHAT_TOOL,
    JSON_ANSWER,
    NAME,
    PARIS,
    ROME,
    STRICT_CHAT_TOOL,
    Call,
    call_regex,
)
from tests.system.client_tour.ways import STREAMS, Answers, Way

pytestmark = pytest.mark.sglang


@dataclass(frozen=True)
class Case:
    """What is asked besides, and what every choice of the answer is."""

    fields: dict[str, Any]
    content: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    choices: int = 1
    logprobs: bool = False


QUESTION: dict[str, Any] = {
    "model": "cascadia",
    "messages": [{"role": "user", "content": "rev abcd"}],
    "temperature": 0,
    "max_tokens": 200,
    "reasoning_effort": "none",
}
ONE_CALL, TWO_CALLS = call_regex("Paris"), f"{call_regex('Paris')}\\n{call_regex('Rome')}"
THOUGHT = "<think>\\nab\\n</think>\\n\\n"
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": ANSWER_SCHEMA, "strict": True},
}


def plain(regex: str | None = None, **more: Any) -> dict[str, Any]:
    return more if regex is None else {"extra_body": {"regex": regex}, **more}


def tools(regex: str | None = None, **more: Any) -> dict[str, Any]:
    return {"tools": [CHAT_TOOL], **plain(regex, **more)}


def chosen(choice: Any) -> dict[str, Any]:
    return {"tools": [STRICT_CHAT_TOOL], "tool_choice": choice}


CALLED: dict[str, Any] = {"calls": (PARIS,), "finish": "tool_calls"}
CASES = {
    "text": Case(plain(), "dcba"),
    "text beside tools": Case(tools(), "dcba"),
    "cut": Case(plain(max_tokens=2), "dc", finish="length"),
    "stop string": Case(plain(stop=["b"]), "dc"),
    "two choices": Case(plain(n=2), "dcba", choices=2),
    "json schema": Case(plain(response_format=JSON_SCHEMA), JSON_ANSWER),
    "logprobs": Case(plain(logprobs=True, top_logprobs=2), "dcba", logprobs=True),
    "logprobs beside tools": Case(tools(logprobs=True), "dcba", logprobs=True),
    "one call": Case(tools(ONE_CALL), **CALLED),
    "one call with logprobs": Case(tools(ONE_CALL, logprobs=True), logprobs=True, **CALLED),
    "one call in two choices": Case(tools(ONE_CALL, n=2), choices=2, **CALLED),
    "two calls": Case(tools(TWO_CALLS), calls=(PARIS, ROME), finish="tool_calls"),
    "text and a call": Case(tools(f"Hi\\n{ONE_CALL}"), "Hi", **CALLED),
    "required": Case(chosen("required"), **CALLED),
    "named": Case(chosen({"type": "function", "function": {"name": NAME}}), **CALLED),
    "reasoning": Case(plain(f"{THOUGHT}dcba"), "dcba", reasoning="ab"),
    "reasoning with logprobs": Case(
        plain(f"{THOUGHT}dcba", logprobs=True), "dcba", reasoning="ab", logprobs=True
    ),
    "reasoning and a call": Case(tools(f"{THOUGHT}{ONE_CALL}"), reasoning="ab", **CALLED),
    # The models end no thought: where reasoning is left on, all that they say is one.
    "an endless thought": Case(plain(reasoning_effort=openai.omit), reasoning="dcba"),
}


@pytest.fixture(scope="module")
def answers(openai_client: openai.OpenAI) -> Answers[Case, tuple[ChatAnswer, str | None]]:
    def ask(case: Case, way: Way) -> tuple[ChatAnswer, str | None]:
        """The answer, and the tier that the headers name, or else the usage."""
        more: dict[str, Any] = {**QUESTION, **case.fields, "extra_headers": way.headers}
        if way.mode is not None:
            more |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = openai_client.chat.completions.with_raw_response.create(**more)
        named = raw.headers.get("x-cascadia-tier")
        if way.mode is None:
            return whole_chat(raw.parse()), named
        chunks = list(raw.parse())
        if named is None and way.keep_alive_s:
            named = chunks[-1].usage.cascadia["tier"]
        return streamed_chat(chunks), named

    return Answers(CASES, ask)


@pytest.mark.parametrize("mode", ["buffered", "commit", "direct", "default"])
@pytest.mark.parametrize(
    "pinned", [{"x-cascadia-tier": "large"}, {"x-cascadia-tier": "small"}, {"model": "small"}]
)
def test_a_pinned_tiers_answer_leaves_as_it_is_written(
    openai_client: openai.OpenAI, mode: str, pinned: dict[str, str]
) -> None:
    headers = {name: value for name, value in pinned.items() if name != "model"}
    if mode != "default":
        headers["x-cascadia-stream"] = mode
    body = {**QUESTION, "model": pinned.get("model", "cascadia"), "max_tokens": 32}
    body["messages"] = [{"role": "user", "content": "steps 123456 654321"}]
    chunks = openai_client.chat.completions.create(**body, stream=True, extra_headers=headers)
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert len([text for text in texts if text]) > 5


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_as_asked(
    answers: Answers[Case, tuple[ChatAnswer, str | None]], name: str, tier: str
) -> None:
    answer, named = answers.of(name, Way(None, tier))
    case = CASES[name]
    assert named == tier
    assert len(answer.choices) == case.choices
    for choice in answer.choices:
        assert (choice.content, choice.reasoning) == (case.content, case.reasoning)
        assert (choice.calls, choice.finish) == (case.calls, case.finish)
    assert answer.usage is not None
    tokens = sum(len(choice.logprobs) for choice in answer.choices)
    assert tokens == (answer.usage.completion if case.logprobs else 0)


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_answer_says(
    answers: Answers[Case, tuple[ChatAnswer, str | None]], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)


def test_a_held_answer_is_preceded_by_signs_of_life(http: httpx.Client) -> None:
    way = STREAMS["kept-alive"]
    body = {**QUESTION, **CASES["one call"].fields["extra_body"], "stream": True}
    reply = http.post("/v1/chat/completions", json=body, headers=way.headers)
    events = [event for event in reply.text.split("\n\n") if event]
    assert events[0] == ": keep-alive"
    assert json.loads(events[-2].removeprefix(": "))["cascadia"]["tier"] == way.tier
    assert events[-1] == "data: [DONE]"


def test_usage_comes_only_when_asked_for(openai_client: openai.OpenAI, way: Way) -> None:
    body: dict[str, Any] = {**QUESTION, "stream": True, "extra_headers": way.headers}
    create = openai_client.chat.completions.create
    assert all(chunk.usage is None and chunk.choices for chunk in create(**body))
    always = {"include_usage": True, "continuous_usage_stats": True}
    counts = [
        chunk.usage.completion_tokens
        for chunk in create(**body, stream_options=always)
        if chunk.usage is not None
    ]
    assert counts == sorted(counts)
    assert counts[-1] == 5


@pytest.fixture(scope="module")
def accumulated(openai_client: openai.OpenAI) -> Answers[str, Any]:
    """What the client's own accumulator makes of each stream of two calls.

    It parses arguments while they come; only strict tools may be given to it.
    """

    def ask(regex: str, way: Way) -> Any:
        body: dict[str, Any] = {**QUESTION, **plain(regex), "tools": [STRICT_CHAT_TOOL]}
        with openai_client.chat.completions.stream(**body, extra_headers=way.headers) as stream:
            return stream.get_final_completion()

    return Answers({"two calls": TWO_CALLS}, ask, STREAMS.values())


def test_the_clients_own_accumulator_reads_two_calls(
    accumulated: Answers[str, Any], way: Way
) -> None:
    (choice,) = accumulated.of("two calls", way).choices
    calls = choice.message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    assert choice.finish_reason == "tool_calls"
