"""What the official clients make of our errors: whole responses, and ends of streams."""

import json
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest

from cascadia_sglang.http.errors.error_shapes import retry_headers, stream_error, whole_error

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, GENERATE = "/v1/messages", "/generate"
STATUSES = (400, 404, 413, 429, 500, 503, 504)
TELL = [{"role": "user", "content": "hello"}]


def whole(path: str, status: int, param: str | None = None) -> tuple[dict[str, str], Any]:
    headers, body = whole_error(path, status, "tier small is full", param)
    assert headers["content-length"] == str(len(body))
    return headers, json.loads(body)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, MESSAGES, "/api/chat", GENERATE])
def test_only_what_may_be_sent_again_says_when(path: str) -> None:
    for status in STATUSES:
        headers, _ = whole(path, status)
        assert ("retry-after" in headers) == (status in (429, 503))
        assert ("x-should-retry" in headers) == (status == 500)
    assert retry_headers(200) == {}


def test_each_route_has_its_own_body() -> None:
    assert whole(CHAT, 503, "model")[1] == {
        "object": "error",
        "message": "tier small is full",
        "type": "service_unavailable_error",
        "param": "model",
        "code": 503,
    }
    assert whole("/invocations", 400)[1]["object"] == "error"
    assert whole(RESPONSES, 504)[1]["error"]["type"] == "timeout_error"
    assert whole(MESSAGES, 503)[1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "tier small is full"},
    }
    assert whole("/v1/messages/count_tokens", 404)[1]["error"]["type"] == "not_found_error"
    assert whole("/api/generate", 503)[1] == {"error": "tier small is full"}
    assert whole(GENERATE, 503)[1] == {"error": {"message": "tier small is full"}}
    assert whole("/cascadia/plan", 400, "tiers")[1]["error"]["param"] == "tiers"


def openai_client(status: int, headers: dict[str, str], body: bytes) -> openai.OpenAI:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=body))
    http_client = httpx.Client(transport=transport)
    return openai.OpenAI(
        api_key="none", base_url="http://server/v1", http_client=http_client, max_retries=0
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_openai_raises_by_the_status_and_knows_the_field(
    status: int, error: type[openai.APIStatusError]
) -> None:
    client = openai_client(status, *whole_error(CHAT, status, "no such tier", "model"))
    with pytest.raises(error, match="no such tier") as raised:
        client.chat.completions.create(model="m", messages=TELL)  # type: ignore[arg-type]
    assert (raised.value.param, raised.value.code) == ("model", status)
    client = openai_client(status, *whole_error(RESPONSES, status, "no such tier", "model"))
    with pytest.raises(error, match="no such tier") as raised:
        client.responses.create(model="m", input="hello")
    assert (raised.value.param, raised.value.code) == ("model", status)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_openai_raises_in_a_stream(path: str) -> None:
    body = stream_error(path, 503, "worker lost", None)
    client = openai_client(200, {"content-type": "text/event-stream"}, body)
    ask: Any = client.chat.completions.create if path == CHAT else client.responses.create
    question = {"messages": TELL} if path == CHAT else {"input": "hello"}
    with pytest.raises(openai.APIError, match="worker lost") as raised:
        list(ask(model="m", stream=True, **question))
    assert (raised.value.type, raised.value.code) == ("service_unavailable_error", 503)


def anthropic_client(status: int, headers: dict[str, str], body: bytes) -> anthropic.Anthropic:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(status, headers=headers, content=body)
    )
    http_client = httpx2.Client(transport=transport)
    return anthropic.Anthropic(
        api_key="none", base_url="http://server", http_client=http_client, max_retries=0
    )


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (500, anthropic.InternalServerError, "api_error"),
        (503, anthropic.InternalServerError, "overloaded_error"),
        (504, anthropic.InternalServerError, "timeout_error"),
    ],
)
def test_anthropic_raises_by_the_status_and_by_the_event(
    status: int, error: type[anthropic.APIStatusError], kind: str
) -> None:
    ask = {"model": "m", "max_tokens": 8, "messages": TELL}
    client = anthropic_client(status, *whole_error(MESSAGES, status, "no answer", None))
    with pytest.raises(error, match="no answer") as raised:
        client.messages.create(**ask)  # type: ignore[call-overload]
    assert raised.value.body["error"]["type"] == kind
    body = stream_error(MESSAGES, status, "no answer", None)
    client = anthropic_client(200, {"content-type": "text/event-stream"}, body)
    with pytest.raises(anthropic.APIStatusError, match="no answer") as raised:
        list(client.messages.create(**ask, stream=True))  # type: ignore[call-overload]
    assert raised.value.body["error"]["type"] == kind


@pytest.mark.parametrize("is_stream", [False, True])
def test_ollama_raises_the_line(is_stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, body = whole_error("/api/chat", 503, "no answer", None)
    if is_stream:
        body = stream_error("/api/chat", 503, "no answer", None)
        assert body.endswith(b"\n")
    client = ollama.Client(host="http://server")
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200 if is_stream else 503, headers=headers, content=body)
    )
    monkeypatch.setattr(client, "_client", httpx.Client(transport=transport, base_url="http://s"))
    with pytest.raises(ollama.ResponseError) as raised:
        list(client.chat(model="m", messages=TELL, stream=is_stream))  # type: ignore[call-overload]
    assert raised.value.error == "no answer"


def test_native_and_chat_streams_end_with_done() -> None:
    for path in (GENERATE, CHAT, COMPLETIONS):
        first, second, rest = stream_error(path, 504, "too late", None).split(b"\n\n")
        error = json.loads(first.removeprefix(b"data: "))["error"]
        assert (error["type"], error["code"]) == ("timeout_error", 504)
        assert (second, rest) == (b"data: [DONE]", b"")
