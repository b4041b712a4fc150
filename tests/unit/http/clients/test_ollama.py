"""Ollama's requests and answers in terms of OpenAI's."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import ollama
import pytest

pytest.importorskip("sglang")

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.clients.ollama_answer import Answer, lines
from cascadia_sglang.http.clients.ollama_request import (
    ChatBody,
    GenerateBody,
    chat_request,
    generate_request,
    read_body,
)

PLAIN = SimpleNamespace(reasoning_parser=None)
TELL = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> dict[str, Any]:
    """What SGLang's chat handler is given for a body with these fields."""
    body = json.dumps({"model": "small", "messages": TELL} | fields).encode()
    return chat_request(read_body(ChatBody, body), PLAIN).model_dump(exclude_unset=True)


def generate(serving: Any = PLAIN, **fields: Any) -> Any:
    body = json.dumps({"model": "small", "prompt": "hello"} | fields).encode()
    return generate_request(read_body(GenerateBody, body), serving)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"num_predict": 8}, {"max_tokens": 8}),
        ({"num_predict": 8.0}, {"max_tokens": 8}),
        ({"num_predict": -1}, {}),
        ({"num_predict": -2}, {}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"top_k": 0}, {"top_k": -1}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"min_p": 0.1, "top_p": 0.9}, {"min_p": 0.1, "top_p": 0.9}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
        ({"num_ctx": 4096, "num_gpu": 1, "mirostat": 2, "unheard_of": {}}, {}),
        ({"seed": None, "num_predict": None}, {}),
    ],
)
def test_an_option_is_the_handlers_field(options: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = chat(options=options)
    plain = chat()
    assert {name: fields[name] for name in fields if fields[name] != plain.get(name)} == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_predict", 2.5),
        ("num_predict", "8"),
        ("num_predict", True),
        ("num_predict", -3),
        ("top_k", 40.5),
        ("seed", 0.5),
        ("temperature", "hot"),
        ("stop", 3),
        ("stop", [1]),
    ],
)
def test_a_wrong_option_is_a_400_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(RequestError) as raised:
        chat(options={name: value})
    assert (raised.value.status, raised.value.param) == (400, f"options.{name}")
    assert f"options.{name} is {value!r}" in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": "what?", "images": ["aGk="]}]},
        {"messages": "hello"},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"name": "f"}]}]},
        {"format": "yaml"},
        {"think": True},
        {"think": "deeply"},
        {"tools": [{"type": "function"}]},
        {"stream": "no"},
    ],
)
def test_what_cannot_be_done_is_a_400(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as raised:
        chat(**fields)
    assert raised.value.status == 400


@pytest.mark.parametrize("name", ["suffix", "template"])
def test_a_prompt_with_what_is_not_supported_is_a_400(name: str) -> None:
    with pytest.raises(RequestError, match=name):
        generate(**{name: "x"})
    with pytest.raises(RequestError, match="context"):
        generate(context=[1, 2])


def test_a_stream_is_the_default_and_asks_for_its_usage() -> None:
    fields = chat()
    assert (fields["stream"], fields["stream_options"]) == (True, {"include_usage": True})
    assert chat(stream=False)["stream"] is False
    assert "max_tokens" not in fields


def test_a_format_is_a_constraint() -> None:
    assert chat(format="json")["response_format"]["type"] == "json_object"
    schema = {"type": "object"}
    constraint = chat(format=schema)["response_format"]
    assert (constraint["type"], constraint["json_schema"]["schema_"]) == ("json_schema", schema)
    assert "response_format" not in chat(format="")


def test_results_of_tools_find_their_calls() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"city": "Paris"}}}

    history = [
        *TELL,
        {"role": "assistant", "tool_calls": [call("weather"), call("time")]},
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "content": "sunny"},
    ]
    _, calling, time, weather = chat(messages=history)["messages"]
    ids = [call["id"] for call in calling["tool_calls"]]
    assert [time["tool_call_id"], weather["tool_call_id"]] == [ids[1], ids[0]]
    assert json.loads(calling["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}


def test_a_prompt_is_a_message_unless_it_is_raw() -> None:
    request = generate(system="be brief", options={"num_predict": 4})
    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "be brief"),
        ("user", "hello"),
    ]
    assert request.model_dump()["max_tokens"] == 4
    raw = generate(raw=True)
    assert (raw.prompt, raw.max_tokens) == ("hello", None)


def test_thinking_is_asked_of_the_handler() -> None:
    seen: list[bool] = []
    serving = SimpleNamespace(
        reasoning_parser="qwen3", apply_reasoning_enabled=lambda _, enabled: seen.append(enabled)
    )
    assert generate(serving, think=False).reasoning_effort is None
    assert generate(serving, think="low").reasoning_effort == "low"
    assert seen == [False, True]


async def lines_of(answer: Answer, *chunks: dict[str, Any]) -> list[dict[str, Any]]:
    async def events() -> AsyncIterator[str]:
        for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    return [json.loads(line) async for line in lines(events(), answer)]


def piece(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish_reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}


async def test_every_piece_of_a_stream_arrives_and_the_last_line_counts() -> None:
    sent = await lines_of(
        Answer("small:latest", is_chat=True),
        piece(role="assistant", content=""),
        piece(reasoning_content="well"),
        piece(content="dc"),
        piece("length", content="b"),
        USAGE,
    )
    frames = [ollama.ChatResponse(**line) for line in sent]
    assert "".join(frame.message.content or "" for frame in frames) == "dcb"
    assert frames[0].message.thinking == "well"
    assert [frame.done for frame in frames] == [False, False, False, True]
    last = frames[-1]
    assert (last.done_reason, last.prompt_eval_count, last.eval_count) == ("length", 5, 3)
    assert last.eval_duration is not None
    assert last.eval_duration > 0
    assert last.model == "small:latest"


async def test_calls_of_tools_arrive_whole() -> None:
    def call(index: int, name: str | None, arguments: str) -> dict[str, Any]:
        return {"index": index, "function": {"name": name, "arguments": arguments}}

    sent = await lines_of(
        Answer("small", is_chat=True),
        piece(tool_calls=[call(0, "weather", "")]),
        piece(tool_calls=[call(0, None, '{"city": ')]),
        piece(tool_calls=[call(0, None, '"Paris"}')]),
        piece("tool_calls", tool_calls=[call(1, "time", "{}")]),
        USAGE,
    )
    (last,) = (ollama.ChatResponse(**line) for line in sent)
    calls = last.message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls] == [
        ("weather", {"city": "Paris"}),
        ("time", {}),
    ]
    assert last.done_reason == "stop"


async def test_an_error_in_a_stream_is_its_last_line() -> None:
    sent = await lines_of(
        Answer("small", is_chat=False),
        {"choices": [{"text": "dc"}]},
        {"error": {"message": "cut"}},
    )
    assert sent[0]["response"] == "dc"
    assert sent[1:] == [{"error": "cut"}]


def test_a_whole_answer() -> None:
    content = {
        "choices": [{"message": {"content": "dcba"}, "finish_reason": "stop"}],
        "usage": USAGE["usage"],
    }
    answer = ollama.GenerateResponse(**Answer("small", is_chat=False).whole(content))
    assert (answer.response, answer.done, answer.done_reason) == ("dcba", True, "stop")
