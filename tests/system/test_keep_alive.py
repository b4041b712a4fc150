"""The official clients on streams that are held back and give signs of life."""

import time
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

# A threshold that no answer reaches, and an answer that is long: the climb takes some time.
CONTROLS = {
    "x-cascadia-threshold": "1",
    "x-cascadia-keep-alive": "0.1",
    "x-cascadia-stream": "buffered",
}
PROMPT = "steps 123456 654321"
QUESTION: list[Any] = [{"role": "user", "content": PROMPT}]
TOKENS = 200
IGNORE_EOS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def answer(demo: Server) -> str:
    """What the last tier answers, not streamed."""
    body = {"model": "large", "messages": QUESTION, "temperature": 0, "max_tokens": TOKENS}
    with demo.client() as client:
        reply = client.post("/v1/chat/completions", json={**body, **IGNORE_EOS}).json()
    text: str = reply["choices"][0]["message"]["content"]
    assert len(text) > 100
    return text


@pytest.fixture(scope="module")
def openai_client(demo: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none", default_headers=CONTROLS)


def test_the_stream_opens_with_a_sign_and_ends_with_what_is_known_late(demo: Server) -> None:
    body = {"model": "cascadia", "messages": QUESTION, "temperature": 0, "max_tokens": TOKENS}
    with (
        demo.client() as client,
        client.stream(
            "POST",
            "/v1/chat/completions",
            json={**body, **IGNORE_EOS, "stream": True},
            headers=CONTROLS,
        ) as response,
    ):
        assert response.status_code == 200
        assert "x-cascadia-tier" not in response.headers
        lines = [line for line in response.iter_lines() if line]
    assert lines.count(": keep-alive") >= 2
    assert lines[0] == ": keep-alive"
    assert '"tier": "large"' in lines[-2]
    assert '"reason": "last_tier"' in lines[-2]
    assert lines[-1] == "data: [DONE]"


def test_openais_client_reads_over_the_signs(openai_client: openai.OpenAI, answer: str) -> None:
    chunks = list(
        openai_client.chat.completions.create(
            model="cascadia",
            messages=QUESTION,
            temperature=0,
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=IGNORE_EOS,
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == answer
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == TOKENS
    assert usage.cascadia["attempts"] == 2  # type: ignore[attr-defined]


def test_so_it_does_on_completions(openai_client: openai.OpenAI, answer: str) -> None:
    chunks = openai_client.completions.create(
        model="cascadia",
        prompt=PROMPT,
        temperature=0,
        max_tokens=TOKENS,
        stream=True,
        extra_body=IGNORE_EOS,
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer


def test_so_it_does_on_responses(openai_client: openai.OpenAI) -> None:
    events = list(
        openai_client.responses.create(
            model="cascadia",
            input=PROMPT,
            temperature=0,
            max_output_tokens=TOKENS,
            stream=True,
        )
    )
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"


def test_anthropics_client_reads_over_the_pings(demo: Server) -> None:
    claude = anthropic.Anthropic(base_url=demo.url, api_key="none", default_headers=CONTROLS)
    body: dict[str, Any] = {"model": "cascadia", "messages": QUESTION, "max_tokens": TOKENS}
    greedy = {"temperature": 0}
    with claude.messages.stream(**body, extra_body=greedy) as stream:
        text = "".join(stream.text_stream)
    whole = claude.messages.create(**body, extra_body=greedy)
    assert text == whole.content[0].text  # type: ignore[union-attr]


def test_ollamas_client_joins_empty_frames(demo: Server) -> None:
    client = ollama.Client(host=demo.url, headers=CONTROLS)
    options = {"temperature": 0, "num_predict": TOKENS}
    frames = list(client.chat(model="cascadia", messages=QUESTION, stream=True, options=options))
    whole = client.chat(model="cascadia", messages=QUESTION, options=options)
    assert "".join(frame.message.content or "" for frame in frames) == whole.message.content
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]


def test_a_client_that_leaves_between_two_signs_is_noticed(demo: Server) -> None:
    body = {"model": "cascadia", "messages": QUESTION, "temperature": 0, "max_tokens": 1000}
    with demo.client() as client:
        with client.stream(
            "POST",
            "/v1/chat/completions",
            json={**body, **IGNORE_EOS, "stream": True},
            headers=CONTROLS,
        ) as response:
            assert next(response.iter_lines()) == ": keep-alive"
        left_at_s = time.monotonic()
        while demo.status()["active"] and time.monotonic() - left_at_s < 5:
            time.sleep(0.05)
        assert demo.status()["active"] == 0
        assert time.monotonic() - left_at_s < 2


def test_a_wrong_request_keeps_its_status(demo: Server) -> None:
    body = {"model": "cascadia", "messages": QUESTION, "stream": True, "max_tokens": 5000}
    with demo.client() as client:
        reply: httpx.Response = client.post("/v1/chat/completions", json=body, headers=CONTROLS)
    assert reply.status_code == 400
