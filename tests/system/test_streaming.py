"""Streams of the real server, over every route that streams, before and after a fault."""

import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

LONG = {"temperature": 0, "max_new_tokens": 400, "ignore_eos": True}
PROMPT = "steps 123456 654321"


@pytest.fixture
def client(demo: Server) -> Iterator[httpx.Client]:
    with demo.client(timeout=60) as client:
        yield client


def events(response: httpx.Response) -> Iterator[dict]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def chat(client: httpx.Client, mode: str, **more) -> tuple[httpx.Headers, list[dict]]:
    body = {
        "model": "cascadia",
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "max_tokens": 200,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    headers = {"x-cascadia-stream": mode, "x-cascadia-threshold": "0"}
    with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        assert response.status_code == 200
        return response.headers, list(events(response))


def text_of(chunks: list[dict], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    )


@pytest.mark.parametrize("mode", ["commit", "direct"])
def test_a_stream_leaves_token_by_token_and_says_what_the_buffered_one_says(
    client: httpx.Client, mode: str
) -> None:
    headers, chunks = chat(client, mode)
    _, whole = chat(client, "buffered")
    assert text_of(chunks) == text_of(whole)
    assert len(chunks) > len(whole) + 10
    assert headers["x-cascadia-tier"] == "small"
    assert "x-cascadia-total-tokens" not in headers
    finishes = [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]]
    assert finishes.count("stop") == 1
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert usage[-1]["completion_tokens"] > 30
    assert usage[-1] == [chunk["usage"] for chunk in whole if chunk.get("usage")][-1]


def test_several_choices_stay_apart(client: httpx.Client) -> None:
    _, chunks = chat(client, "commit", n=3)
    _, whole = chat(client, "buffered", n=3)
    for index in range(3):
        assert text_of(chunks, index) == text_of(whole, index)
    ends = [
        choice["index"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["finish_reason"]
    ]
    assert sorted(ends) == [0, 1, 2]


def test_an_answer_that_the_judge_gives_up_is_never_seen(client: httpx.Client) -> None:
    """Nothing is certain enough for a threshold of 1: the small tier's text stays unseen."""
    body = {"text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 150}}
    headers = {"x-cascadia-stream": "commit", "x-cascadia-threshold": "1"}
    with client.stream("POST", "/generate", json={**body, "stream": True}, headers=headers) as out:
        chunks = list(events(out))
        assert out.headers["x-cascadia-tier"] == "large"
    large = client.post("/generate", json=body, headers={"x-cascadia-tier": "large"}).json()
    assert chunks[-1]["text"] == large["text"]
    assert all(large["text"].startswith(chunk["text"]) for chunk in chunks)
    reasons = [a["reason"] for a in chunks[-1]["meta_info"]["cascadia"]["attempts"]]
    assert reasons[-1] == "last_tier"


@pytest.mark.parametrize("route", ["native", "chat"])
def test_a_visible_stream_whose_worker_dies_ends_with_an_error_event(
    demo: Server, client: httpx.Client, route: str
) -> None:
    headers = {"x-cascadia-stream": "direct"}
    if route == "native":
        path = "/generate"
        body: dict = {"text": PROMPT, "sampling_params": LONG, "stream": True}
    else:
        path = "/v1/chat/completions"
        messages = [{"role": "user", "content": PROMPT}]
        body = {"model": "cascadia", "messages": messages, "stream": True, "max_tokens": 400}
        body |= {"temperature": 0, "ignore_eos": True}
    small = next(w for w in demo.status()["workers"] if w["tiers"] == ["small"])
    seen: list[dict] = []
    with client.stream("POST", path, json=body, headers=headers) as response:
        for event in events(response):
            seen.append(event)
            if len(seen) == 10:
                os.kill(small["pids"][0], signal.SIGKILL)
    assert response.headers["x-cascadia-tier"] == "small"
    assert "error" in seen[-1]
    assert "incomplete" in json.dumps(seen[-1])
    assert not [event for event in seen[:-1] if "error" in event]
    while "small" not in [w["tiers"][0] for w in demo.status()["workers"] if w["state"] == "ready"]:
        assert demo.process.poll() is None
    assert demo.status()["active"] == 0
