"""The routes of the demo, toured with the official clients of OpenAI and Anthropic."""

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

QUESTION = [{"role": "user", "content": "rev abcd"}]
# The client has no parameter for it.
GREEDY = {"temperature": 0}


@pytest.fixture
def client(demo: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(demo: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=demo.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(demo: Server) -> Iterator[httpx.Client]:
    with demo.client() as client:
        yield client


# OpenAI


def test_models_are_the_cascade_and_its_tiers(client: openai.OpenAI) -> None:
    assert [card.id for card in client.models.list()] == ["cascadia", "small", "large"]
    assert client.models.retrieve("large").id == "large"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("huge")


def test_a_chat_is_answered_with_its_tier_in_the_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="cascadia", messages=QUESTION, temperature=0, seed=7
    )
    reply = raw.parse()
    assert reply.choices[0].message.content == "dcba"
    assert reply.usage.completion_tokens == 5
    assert raw.headers["x-cascadia-tier"] == "small"


@pytest.mark.parametrize("mode", ["buffered", "commit", "direct"])
def test_a_chat_is_streamed(client: openai.OpenAI, mode: str) -> None:
    stream = client.chat.completions.create(
        model="cascadia",
        messages=QUESTION,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-cascadia-stream": mode},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "dcba"
    assert chunks[-1].usage.completion_tokens == 5


def test_logprobs_stop_and_several_choices(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="small", messages=QUESTION, temperature=0, n=2, stop=["b"], logprobs=True
    )
    assert [choice.message.content for choice in reply.choices] == ["dc", "dc"]
    assert [choice.finish_reason for choice in reply.choices] == ["stop", "stop"]
    assert reply.choices[0].logprobs.content[0].token == "d"


def test_a_completion_of_several_prompts(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="cascadia", prompt=["rev abc", "sort cab"], temperature=0, max_tokens=8
    )
    assert [choice.text for choice in reply.choices] == ["cba", "abc"]


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "integer"}},
        "required": ["answer"],
    }
    reply = client.chat.completions.with_raw_response.create(
        model="cascadia",
        messages=QUESTION,
        temperature=0,
        max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    assert reply.headers["x-cascadia-tier"] == "large"
    choice = reply.parse().choices[0]
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content)["answer"], int)
    assert choice.message.content.lstrip().startswith("{")


def test_a_regex_is_kept(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="cascadia", messages=QUESTION, max_tokens=8, extra_body={"regex": "[0-9]{3}"}
    )
    assert reply.choices[0].message.content.isdigit()


def test_a_response_is_answered(client: openai.OpenAI) -> None:
    reply = client.responses.create(model="cascadia", input="rev abcd", temperature=0)
    assert reply.output_text == "dcba"
    assert (
        client.responses.create(model="large", input="rev abcd", temperature=0).output_text
        == "dcba"
    )
    streamed = client.responses.create(
        model="cascadia", input="rev abcd", temperature=0, stream=True
    )
    assert "".join(e.delta for e in streamed if e.type == "response.output_text.delta") == "dcba"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="huge", messages=QUESTION)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="huge", input="rev abc")


@pytest.mark.parametrize("model", ["cascadia", "small"])
def test_an_embedding_is_refused_clearly(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="embedding model"):
        client.embeddings.create(model=model, input="rev abc")


def test_a_malformed_control_names_its_header(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="x-cascadia-threshold"):
        client.chat.completions.create(
            model="cascadia", messages=QUESTION, extra_headers={"x-cascadia-threshold": "2"}
        )


# Anthropic


def test_a_message_is_answered(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.with_raw_response.create(
        model="cascadia", max_tokens=16, messages=QUESTION, extra_body=GREEDY
    )
    assert reply.headers["x-cascadia-tier"] == "small"
    message = reply.parse()
    assert message.content[0].text == "dcba"
    assert message.usage.output_tokens == 5


@pytest.mark.parametrize("mode", ["buffered", "commit"])
def test_a_message_is_streamed(claude: anthropic.Anthropic, mode: str) -> None:
    with claude.messages.stream(
        model="cascadia",
        max_tokens=16,
        messages=QUESTION,
        extra_body=GREEDY,
        extra_headers={"x-cascadia-stream": mode},
    ) as stream:
        assert "".join(stream.text_stream) == "dcba"


def test_tokens_of_a_message_are_counted(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="cascadia", messages=QUESTION).input_tokens > 5


# Ollama and SGLang's own


def test_ollama_chats_and_generates(http: httpx.Client) -> None:
    options = {"temperature": 0, "num_predict": 8}
    body = {"model": "cascadia", "messages": QUESTION, "stream": False, "options": options}
    chat = http.post("/api/chat", json=body).json()
    assert chat["message"]["content"] == "dcba"
    body = {"model": "large", "prompt": "rev abcd", "stream": False, "options": options}
    reply = http.post("/api/generate", json=body)
    assert reply.json()["response"] == "dcba"
    assert reply.headers["x-cascadia-tier"] == "large"
    assert http.get("/api/tags").status_code == 200


def test_text_becomes_tokens_and_tokens_text(http: httpx.Client) -> None:
    tokens = http.post("/tokenize", json={"model": "cascadia", "prompt": "rev abcd"}).json()
    text = http.post("/detokenize", json={"model": "cascadia", "tokens": tokens["tokens"]}).json()
    assert "rev abcd" in text["text"]


def test_a_score_is_of_the_tier_that_is_named_or_of_the_last(http: httpx.Client) -> None:
    body = {"query": "rev ab", "items": ["b", "a"], "label_token_ids": [5, 6], "model": "large"}
    reply = http.post("/v1/score", json=body)
    assert reply.status_code == 200, reply.text
    whole = http.post("/v1/score", json={**body, "model": "cascadia"})
    assert whole.json()["scores"] == reply.json()["scores"]
    small = http.post("/v1/score", json={**body, "model": "small"})
    assert small.json()["scores"] != reply.json()["scores"]
    assert http.post("/v1/score", json={**body, "model": "huge"}).status_code == 404


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/pd_role_switch"])
def test_what_a_cascade_does_not_serve_says_so(http: httpx.Client, path: str) -> None:
    reply = http.post(path, json={})
    assert reply.status_code == 400
    assert "not served by a cascade" in reply.text


def test_writing_is_refused_where_no_admin_key_is_configured(http: httpx.Client) -> None:
    reply = http.post("/cascadia/thresholds", json={"thresholds": [0.5]})
    assert reply.status_code == 403
    assert "--admin-api-key" in reply.json()["error"]["message"]


def test_a_disconnected_clients_work_stops_within_a_second(demo: Server) -> None:
    import time

    body = {
        "text": "rev abc",
        "sampling_params": {"max_new_tokens": 1900, "ignore_eos": True, "temperature": 0},
    }
    with pytest.raises(httpx.ReadTimeout), demo.client(timeout=1.5) as client:
        client.post("/generate", json=body, headers={"x-cascadia-tier": "large"})
    gone = time.monotonic()
    while any(worker["running"] for worker in demo.status()["workers"]):
        assert time.monotonic() < gone + 2
    assert time.monotonic() - gone <= 1.2
