"""Requests as coding agents and load tools send them, on the demo cascade."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

RULES = "note abcdefghij " * 40


@pytest.fixture
def http(demo: Server) -> Iterator[httpx.Client]:
    with demo.client() as client:
        yield client


def test_a_billing_line_is_no_part_of_the_prompt(http: httpx.Client) -> None:
    """It changes in every request, so that no prefix would be found in a cache again."""

    def count(*system: str) -> int:
        body = {
            "model": "large",
            "system": [{"type": "text", "text": text} for text in system],
            "messages": [{"role": "user", "content": "rev abcd"}],
        }
        tokens: int = http.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
        return tokens

    billing = "x-anthropic-billing-header: cc_version=2.1.37; cch=fa690;"
    assert count(billing, RULES) == count(RULES) == count(f"{billing}\n{RULES}") > 600


def test_a_conversation_with_items_of_codex_goes_on(http: httpx.Client) -> None:
    body = {
        "model": "large",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "client_metadata": {"a": "b"},
        "max_output_tokens": 16,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "***"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {
                "type": "additional_tools",
                "role": "developer",
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            },
        ],
        "tools": [
            {"type": "custom", "name": "apply_patch", "description": "d"},
            {"type": "namespace", "name": "mcp__x", "tools": []},
            {"type": "web_search"},
        ],
    }
    reply = http.post("/v1/responses", json=body)
    assert reply.status_code == 200, reply.text
    events = [line for line in reply.text.splitlines() if line.startswith("event: ")]
    assert events[0] == "event: response.created"
    assert events[-1] in ("event: response.completed", "event: response.incomplete")
    assert reply.headers["x-cascadia-tier"] == "large"
    body["input"].append({"type": "compaction", "encrypted_content": "x"})  # type: ignore[attr-defined]
    refused = http.post("/v1/responses", json=body)
    assert refused.status_code == 400
    assert "'compaction'" in refused.json()["error"]["message"]


def test_the_probe_of_a_load_tool_is_answered_with_its_usage(http: httpx.Client) -> None:
    body = {
        "prompt": "Test connection",
        "model": "cascadia",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 1,
        "max_completion_tokens": 1,
        "stop": None,
        "ignore_eos": True,
    }
    reply = http.post("/v1/completions", json=body)
    assert reply.status_code == 200
    assert '"completion_tokens":1' in reply.text.replace(" ", "")
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("threshold", ["0", "1"], ids=["accepted", "climbs"])
def test_content_in_parts_and_a_developers_message_are_read(
    http: httpx.Client, threshold: str
) -> None:
    parts = [{"type": "text", "text": text} for text in ("rev ", "abcd")]
    body = {
        "model": "cascadia",
        "temperature": 0,
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "short"}]},
            {"role": "user", "name": "bob", "content": parts},
        ],
    }
    reply = http.post(
        "/v1/chat/completions", json=body, headers={"x-cascadia-threshold": threshold}
    )
    assert reply.status_code == 200
    assert reply.headers["x-cascadia-attempts"] == ("1" if threshold == "0" else "2")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/messages", {"messages": [], "max_tokens": 8}),
        ("/v1/responses", {"input": []}),
        ("/api/chat", {"messages": []}),
    ],
)
def test_a_conversation_without_messages_is_a_400(
    http: httpx.Client, path: str, more: dict[str, Any], is_stream: bool
) -> None:
    reply = http.post(path, json={"model": "cascadia", "stream": is_stream} | more)
    assert reply.status_code == 400
    assert "error" in reply.text


def test_every_name_of_a_model_is_known(demo: Server) -> None:
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none") as client:
        assert [card.id for card in client.models.list()] == ["cascadia", "small", "large"]
        assert client.models.retrieve("demo/models/large").id == "demo/models/large"
        with pytest.raises(openai.NotFoundError, match="allowed: cascadia, small, large"):
            client.models.retrieve("Large")
        for name in ("demo/models/large", "large:latest"):
            raw = client.chat.completions.with_raw_response.create(
                model=name, messages=[{"role": "user", "content": "rev abcd"}], temperature=0
            )
            assert raw.headers["x-cascadia-tier"] == "large"
            assert raw.headers["x-cascadia-attempts"] == "1"
