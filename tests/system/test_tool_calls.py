"""Tool calls in streams of the real server: every mode gives what an unstreamed answer gives."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.system.serving import CASCADE, ROOT, Server, start

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

MODES = ("buffered", "commit", "direct")
CALLS = (("get_weather", {"city": "Paris"}), ("get_time", {"zone": "Europe/Paris"}))
SCHEMAS = {
    name: {"type": "object", "properties": {key: {"type": "string"} for key in arguments}}
    for name, arguments in CALLS
}
QUESTION = [{"role": "user", "content": "weather"}]
CHAT: dict[str, Any] = {
    "model": "cascadia",
    "messages": QUESTION,
    "max_tokens": 300,
    "tools": [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in SCHEMAS.items()
    ],
}
# What is streamed, by the route's path.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        **CHAT,
        "logprobs": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/messages": {
        **CHAT,
        "tools": [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()],
    },
    "/v1/responses": {
        "model": "cascadia",
        "input": "weather",
        "max_output_tokens": 300,
        "tools": [
            {"type": "function", "name": name, "parameters": schema}
            for name, schema in SCHEMAS.items()
        ],
    },
}
# Each call as a model of the Qwen family writes it.
BLOCKS = [
    f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
    for name, arguments in CALLS
]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("--stream-interval", "4"), id="four-tokens-at-a-time"),
        pytest.param(
            # Its models think only when asked, so the grammar holds from the first token.
            ("--incremental-streaming-output", "--reasoning-parser", "deepseek-v3"),
            id="incremental",
        ),
    ],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Tiers that write two calls, whatever they are asked."""
    folder = tmp_path_factory.mktemp("tools")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    text = "\n".join(BLOCKS).replace("{", "\\{").replace("}", "\\}")
    for tier in cascade["tiers"]:
        tier["sampling"] = {"regex": text, "temperature": 0}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    flags = ("--tool-call-parser", "qwen25", *request.param)
    server = start(folder, *CASCADE[:-1], str(path), *flags)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


Events = Callable[[str, str], list[dict]]


@pytest.fixture(scope="module")
def events(server: Server) -> Iterator[Events]:
    """The events of a route's stream, by its path and the mode; all are asked for at once."""

    def stream(path: str, body: dict[str, Any], mode: str) -> list[dict]:
        request, headers = {**body, "stream": True}, {"x-cascadia-stream": mode}
        with client.stream("POST", path, json=request, headers=headers) as response:
            assert response.status_code == 200
            lines = [line.removeprefix("data: ") for line in response.iter_lines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    with server.client() as client, ThreadPoolExecutor(len(BODIES) * len(MODES)) as threads:
        futures = {
            (path, mode): threads.submit(stream, path, body, mode)
            for path, body in BODIES.items()
            for mode in MODES
        }
        yield lambda path, mode: futures[path, mode].result()


@pytest.fixture(scope="module")
def whole_choice(server: Server) -> dict[str, Any]:
    """What the chat route answers unstreamed."""
    with server.client() as client:
        reply = client.post("/v1/chat/completions", json=CHAT).json()
    choice: dict[str, Any] = reply["choices"][0]
    return choice


@pytest.mark.parametrize("mode", MODES)
def test_chat_streams_whole_calls(events: Events, whole_choice: dict[str, Any], mode: str) -> None:
    calls: dict[int, list[str]] = {}
    finishes, logprobs, tokens = [], 0, 0
    for event in events("/v1/chat/completions", mode):
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in event["choices"]:
            assert not choice["delta"].get("content")
            logprobs += len((choice.get("logprobs") or {}).get("content", []))
            finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
            for call in choice["delta"].get("tool_calls") or []:
                parts = calls.setdefault(call["index"], ["", ""])
                parts[0] += call["function"]["name"] or ""
                parts[1] += call["function"]["arguments"] or ""
    assert {index: (name, json.loads(text)) for index, (name, text) in calls.items()} == dict(
        enumerate(CALLS)
    )
    assert finishes == ["tool_calls"]
    assert logprobs == tokens > 100

    assert whole_choice["finish_reason"] == "tool_calls"
    functions = [call["function"] for call in whole_choice["message"]["tool_calls"]]
    assert [[f["name"], f["arguments"]] for f in functions] == list(calls.values())


@pytest.mark.parametrize("mode", MODES)
def test_messages_stream_whole_calls(events: Events, mode: str) -> None:
    blocks: dict[int, tuple[dict, list[str]]] = {}
    stop = ""
    for event in events("/v1/messages", mode):
        if event["type"] == "content_block_start":
            blocks[event["index"]] = (event["content_block"], [])
        elif event["type"] == "content_block_delta":
            blocks[event["index"]][1].append(event["delta"]["partial_json"])
        elif event["type"] == "message_delta":
            stop = event["delta"]["stop_reason"]
    assert [(block["name"], json.loads("".join(p))) for block, p in blocks.values()] == list(CALLS)
    assert stop == "tool_use"


@pytest.mark.parametrize("mode", MODES)
def test_responses_stream_whole_calls(events: Events, mode: str) -> None:
    deltas: dict[str, str] = {}
    done = []
    for event in events("/v1/responses", mode):
        if event["type"] == "response.function_call_arguments.delta":
            deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
        elif event["type"] == "response.output_item.done":
            done.append(event["item"])
    assert [(item["name"], json.loads(item["arguments"])) for item in done] == list(CALLS)
    assert [deltas[item["id"]] for item in done] == [item["arguments"] for item in done]
