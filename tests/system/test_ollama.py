"""Ollama's own client and the examples of its documentation, on the demo cascade."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

TELL = [{"role": "user", "content": "rev abcd"}]
GREEDY = {"temperature": 0}
MODES = ("buffered", "commit", "direct")


@pytest.fixture
def client(demo: Server) -> ollama.Client:
    return ollama.Client(host=demo.url, timeout=60, verify=False)


@pytest.fixture
def http(demo: Server) -> Iterator[httpx.Client]:
    with demo.client() as client:
        yield client


def in_mode(demo: Server, mode: str) -> ollama.Client:
    return ollama.Client(
        host=demo.url, timeout=60, headers={"x-cascadia-stream": mode}, verify=False
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_chat_streams_whole_in_every_mode(demo: Server, mode: str) -> None:
    frames = list(in_mode(demo, mode).chat("cascadia", TELL, stream=True, options=GREEDY))
    assert "".join(frame.message.content or "" for frame in frames) == "dcba"
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    last = frames[-1]
    assert (last.done_reason, last.eval_count) == ("stop", 5)
    assert last.prompt_eval_count is not None
    assert last.prompt_eval_count > 5


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_is_cut_says_so(demo: Server, mode: str) -> None:
    options = GREEDY | {"num_predict": 3}
    client = in_mode(demo, mode)
    frames = list(client.generate("large", "rev abcdefg", stream=True, options=options))
    assert "".join(frame.response or "" for frame in frames) == "gfe"
    assert (frames[-1].done_reason, frames[-1].eval_count) == ("length", 3)
    whole = client.generate("large", "rev abcdefg", options=options)
    assert (whole.response, whole.done_reason, whole.eval_count) == ("gfe", "length", 3)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7},
        {"num_predict": -1},
        {"num_predict": -2},
        {"num_predict": 8.0},
        {"top_k": 0},
        {"top_k": 1, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.0},
        {"num_ctx": 2048, "num_thread": 8, "mirostat": 0},
        {"stop": ["x"]},
        {},
    ],
)
def test_usual_options_are_taken(client: ollama.Client, options: dict[str, Any]) -> None:
    answer = client.chat("large", TELL, options=GREEDY | options)
    assert (answer.message.content, answer.done_reason) == ("dcba", "stop")


def test_an_answer_has_room_up_to_the_context(client: ollama.Client) -> None:
    """SGLang's own limit of 2,048 tokens is the demo's whole context."""
    answer = client.generate("large", "count a in abacad", raw=True, options=GREEDY)
    assert answer.done_reason in ("stop", "length")
    assert answer.prompt_eval_count is not None
    assert answer.eval_count is not None
    assert answer.prompt_eval_count + answer.eval_count <= 2048


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/generate", {"prompt": "rev abcd", "options": {"num_predict": 2.5}}, "num_predict"),
        ("/api/generate", {"prompt": "rev abcd", "options": {"top_k": 40.5}}, "top_k"),
        ("/api/generate", {"prompt": "rev abcd", "suffix": "x"}, "suffix"),
        ("/api/chat", {"messages": []}, "messages is empty"),
        ("/api/chat", {"messages": TELL, "think": True}, "reasoning"),
        ("/api/chat", {"messages": [{**TELL[0], "images": ["aGk="]}]}, "images"),
    ],
)
def test_what_cannot_be_done_is_a_400(
    http: httpx.Client, path: str, body: dict[str, Any], message: str, is_stream: bool
) -> None:
    reply = http.post(path, json={"model": "cascadia", "stream": is_stream} | body)
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}
    assert message in reply.json()["error"]


def test_a_format_holds(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = client.chat(
        "large", TELL, format=schema, options=GREEDY | {"num_predict": 64, "stop": []}
    )
    assert answer.message.content is not None
    assert answer.message.content.lstrip().startswith("{")


def test_log_probabilities_arrive(client: ollama.Client) -> None:
    answer = client.chat("large", TELL, options=GREEDY, logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert "".join(logprob.token for logprob in answer.logprobs[:4]) == "dcba"
    assert len(answer.logprobs[0].top_logprobs or ()) == 2


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_the_body_is_json_whatever_its_content_type(
    http: httpx.Client, content_type: str | None
) -> None:
    body = json.dumps({"model": "cascadia", "messages": TELL, "stream": False, "options": GREEDY})
    headers = {} if content_type is None else {"content-type": content_type}
    reply = http.post("/api/chat", content=body, headers=headers)
    assert reply.json()["message"] == {"role": "assistant", "content": "dcba"}
    assert reply.headers["x-cascadia-tier"] in ("small", "large")


def test_the_documented_curl_call_works(demo: Server) -> None:
    body = '{"model": "large", "prompt": "rev abcd", "options": {"temperature": 0}}'
    command = ["curl", "-s", "--max-time", "30", f"{demo.url}/api/generate", "-d", body]
    lines = subprocess.run(command, capture_output=True, check=True, timeout=40).stdout
    frames = [json.loads(line) for line in lines.splitlines()]
    assert "".join(frame["response"] for frame in frames) == "dcba"


def test_the_models_are_listed_shown_and_running(client: ollama.Client, http: httpx.Client) -> None:
    names = ["cascadia", "small", "large"]
    assert [model.model for model in client.list().models] == names
    assert [(model.model, model.context_length) for model in client.ps().models] == [
        (name, 2048) for name in names
    ]
    shown = client.show("small:latest")
    assert shown.capabilities == ["completion"]
    with pytest.raises(ollama.ResponseError, match="'nope' does not exist") as raised:
        client.show("nope")
    assert raised.value.status_code == 404
    assert http.get("/api/version").json()["version"]


def test_a_tag_is_part_of_a_name(client: ollama.Client) -> None:
    assert client.chat("large:latest", TELL, options=GREEDY).model == "large:latest"
    assert client.generate("large:latest", "").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="allowed: cascadia, small, large"):
        client.generate("Large", "")
