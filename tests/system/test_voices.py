"""A cascade whose larger tiers have tokenizers and templates of their own.

The second one says what the demo's large model says: it is the same under other token ids. The
third one has pieces of bytes for tokens, and made-up weights.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tokenizers import Tokenizer

from demo.tasks.splits import sample
from tests.system.serving import CASCADE, ROOT, Server, start
from tests.system.twins import byte_model, ids_of, permuted

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

PROMPTS = [row.prompt for row in sample("test", 64_000, 24)]
# The demo has no third tier.
UP_TO_LARGE = {"x-cascadia-max-tier": "large"}
CLIMBS = {**UP_TO_LARGE, "x-cascadia-threshold": "1"}
LARGE = {"x-cascadia-tier": "large"}
GREEDY = {"temperature": 0, "max_new_tokens": 96}
SMALL = ROOT / "demo/models/small"


@dataclass
class Pair:
    """The demo, and the same with the large model's twin and a tier more.

    Attributes:
        models: folders of the models of `twin`, by tier.
    """

    demo: Server
    twin: Server
    models: dict[str, Path]

    def both(self, ask: Any) -> tuple[list[Any], list[Any]]:
        """What both answer to every prompt."""
        answers = []
        for server in (self.demo, self.twin):
            with server.client() as client, ThreadPoolExecutor(8) as threads:
                answers.append(list(threads.map(lambda text, c=client: ask(c, text), PROMPTS)))
        return answers[0], answers[1]


@contextlib.contextmanager
def serving(folder: Path, **routing: Any) -> Iterator[tuple[Server, dict[str, Path]]]:
    """A server of the small model, the large one's twin, and the model over bytes."""
    models = {
        "small": SMALL,
        "large": permuted(ROOT / "demo/models/large", folder / "twin"),
        "bytes": byte_model(SMALL, folder / "bytes"),
    }
    memory = {"max_total_tokens": 65536}
    settings_by_tier: dict[str, dict[str, Any]] = {
        "small": {"calibration": str(SMALL / "calibration.json"), "server_args": memory},
        # Fitted for a second tier; it decides nothing here.
        "large": {
            "calibration": str(ROOT / "demo/models/middle/calibration.json"),
            "server_args": memory,
        },
        "bytes": {
            "server_args": {**memory, "load_format": "dummy", "reasoning_parser": "deepseek-r1"}
        },
    }
    cascade = {
        "version": 1,
        "tiers": [
            {"name": n, "model_path": str(m), **settings_by_tier[n]} for n, m in models.items()
        ],
        "routing": {"thresholds": [0.9, 0.0], **routing},
    }
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    server = start(folder, *CASCADE[:-1], str(path))
    try:
        server.wait_until_ready()
        yield server, models
    finally:
        server.stop()


@pytest.fixture(scope="module")
def pair(demo: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with serving(tmp_path_factory.mktemp("twin")) as (server, models):
        yield Pair(demo, server, models)


@pytest.fixture
def client(pair: Pair) -> Iterator[httpx.Client]:
    with pair.twin.client(timeout=60) as client:
        yield client


def shape(meta: dict[str, Any]) -> tuple[Any, ...]:
    """What does not depend on token ids."""
    story = meta["cascadia"]
    attempts = [
        (attempt["tier"], attempt["reason"], attempt["tokens"]) for attempt in story["attempts"]
    ]
    ends = meta["finish_reason"]["type"]
    return story["tier"], attempts, ends, meta["prompt_tokens"], meta["completion_tokens"]


def generate(client: httpx.Client, text: str, **fields: Any) -> Any:
    headers = fields.pop("headers", {})
    prompt = {} if "input_ids" in fields else {"text": text}
    body = {**prompt, "sampling_params": GREEDY, **fields}
    response = client.post("/generate", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("headers", [UP_TO_LARGE, CLIMBS], ids=["as-scored", "all-climb"])
def test_texts_get_the_same_answers(pair: Pair, headers: dict[str, str]) -> None:
    def ask(client: httpx.Client, text: str) -> Any:
        answer = generate(client, text, headers=headers)
        return answer["text"], *shape(answer["meta_info"])

    demo, twin = pair.both(ask)
    assert twin == demo
    if headers is CLIMBS:
        assert {tier for _, tier, *_ in twin} == {"large"}


@pytest.mark.parametrize("headers", [UP_TO_LARGE, CLIMBS], ids=["as-scored", "all-climb"])
def test_chats_get_the_same_answers(pair: Pair, headers: dict[str, str]) -> None:
    def ask(client: httpx.Client, text: str) -> Any:
        body = {"model": "cascadia", "messages": [{"role": "user", "content": text}]}
        body |= {"temperature": 0, "max_tokens": 96, "logprobs": True, "top_logprobs": 2}
        response = client.post("/v1/chat/completions", json=body, headers=headers)
        assert response.status_code == 200, response.text
        answer = response.json()
        (choice,) = answer["choices"]
        written = choice["logprobs"]["content"]
        tokens = [token["token"] for token in written]
        # Less likely ones may be equally likely.
        tops = [
            sorted(t["token"] for t in token["top_logprobs"] if t["logprob"] > -3)
            for token in written
        ]
        usage = {key: answer["usage"][key] for key in ("prompt_tokens", "completion_tokens")}
        tier = response.headers["x-cascadia-tier"]
        return choice["message"]["content"], choice["finish_reason"], tokens, tops, usage, tier

    demo, twin = pair.both(ask)
    assert twin == demo


# On a slow machine too, the headers wait for the tier that answers.
WAITS = {**UP_TO_LARGE, "x-cascadia-keep-alive": "0"}


@pytest.mark.parametrize("mode", ["buffered", "commit", "direct"])
def test_streams_say_the_same(pair: Pair, mode: str) -> None:
    def ask(client: httpx.Client, text: str) -> Any:
        body = {"model": "cascadia", "messages": [{"role": "user", "content": text}]}
        body |= {"temperature": 0, "max_tokens": 96, "stream": True}
        headers = {**WAITS, "x-cascadia-stream": mode}
        with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            assert response.status_code == 200
            lines = list(response.iter_lines())
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        chunks = [json.loads(line) for line in data if line != "[DONE]"]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        content = "".join(choice["delta"].get("content") or "" for choice in choices)
        return content, choices[-1]["finish_reason"], response.headers["x-cascadia-tier"]

    demo, twin = pair.both(ask)
    assert twin == demo


def test_a_stop_string_ends_the_twins_answers(pair: Pair) -> None:
    def ask(client: httpx.Client, text: str) -> Any:
        params = {**GREEDY, "stop": ["3"]}
        answer = generate(client, text, sampling_params=params, headers=CLIMBS)
        return answer["text"], answer["meta_info"]["finish_reason"].get("matched") == "3"

    demo, twin = pair.both(ask)
    assert twin == demo
    assert any(stopped for _, stopped in twin)


def test_batches_and_samples_get_the_same_answers(pair: Pair) -> None:
    results = []
    for server in (pair.demo, pair.twin):
        with server.client() as client:
            params = {**GREEDY, "n": 2}
            answers = generate(client, PROMPTS[:4], sampling_params=params, headers=CLIMBS)
            results.append([(answer["text"], *shape(answer["meta_info"])) for answer in answers])
    assert results[1] == results[0]
    assert len(results[1]) == 8


def test_a_pinned_tier_is_asked_in_its_own_ids(pair: Pair, client: httpx.Client) -> None:
    """As text and as ids of its own; the ids of the small tier mean other tokens there."""
    for text in PROMPTS[:4]:
        by_text = generate(client, text, headers=LARGE)
        ids = ids_of(pair.models["large"], text)
        assert ids != ids_of(SMALL, text)
        by_ids = generate(client, text, headers=LARGE, input_ids=ids)
        assert by_ids["text"] == by_text["text"]
        assert by_ids["output_ids"] == by_text["output_ids"]


def test_every_tier_is_asked_by_its_own_template(client: httpx.Client) -> None:
    """The twin trims messages, the small model does not."""
    question = [{"role": "user", "content": "  rev abc  "}]
    lengths = {}
    for tier in ("small", "large"):
        body = {"model": tier, "messages": question, "max_tokens": 1}
        answer = client.post("/v1/chat/completions", json=body).json()
        lengths[tier] = answer["usage"]["prompt_tokens"]
        tokens = client.post("/tokenize", json={"model": tier, "messages": question}).json()
        assert tokens["count"] == lengths[tier]
        body = {"model": tier, "messages": question, "max_tokens": 1}
        count = client.post("/v1/messages/count_tokens", json=body).json()
        assert count["input_tokens"] == lengths[tier]
    assert lengths["small"] == lengths["large"] + 4


def test_tokens_are_read_and_written_by_the_tier_that_is_named(
    pair: Pair, client: httpx.Client
) -> None:
    for tier, model in pair.models.items():
        named = {"model": tier, "prompt": "rev abc"}
        tokens = client.post("/tokenize", json=named).json()["tokens"]
        assert tokens == ids_of(model, "rev abc")
        text = client.post("/detokenize", json={"model": tier, "tokens": tokens}).json()["text"]
        assert text == "rev abc"
    unknown = client.post("/tokenize", json={"model": "middle", "prompt": "a"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"input_ids": ids_of(SMALL, "rev abcdefghij")},
        {"sampling_params": {**GREEDY, "logit_bias": {"5": 0.5}}},
        {"sampling_params": {**GREEDY, "stop_token_ids": [5]}},
        {"return_logprob": True, "token_ids_logprob": [5]},
    ],
    ids=["input_ids", "logit_bias", "stop_token_ids", "token_ids_logprob"],
)
def test_token_ids_never_reach_the_other_tokenizer(
    client: httpx.Client, fields: dict[str, Any]
) -> None:
    answer = generate(client, "rev abcdefghij", headers=CLIMBS, **fields)
    story = answer["meta_info"]["cascadia"]
    assert story["tier"] == "small"
    reasons = {attempt["tier"]: attempt["reason"] for attempt in story["attempts"]}
    assert reasons == {"large": "other_tokenizer", "small": "last_tier"}


@pytest.mark.parametrize("fields", [{"logit_bias": {"5": 0.5}}, {"stop_token_ids": [5]}], ids=str)
def test_a_chat_with_token_ids_never_reaches_the_other_tokenizer(
    client: httpx.Client, fields: dict[str, Any]
) -> None:
    chat = [{"role": "user", "content": "rev abcdefghij"}]
    body = {"model": "cascadia", "messages": chat, "max_tokens": 96, "temperature": 0, **fields}
    response = client.post("/v1/chat/completions", json=body, headers=CLIMBS)
    assert response.status_code == 200, response.text
    assert response.headers["x-cascadia-tier"] == "small"


def test_a_completion_of_token_ids_never_reaches_the_other_tokenizer(client: httpx.Client) -> None:
    body = {"model": "cascadia", "prompt": ids_of(SMALL, "rev abcdefghij"), "max_tokens": 96}
    response = client.post("/v1/completions", json=body, headers=CLIMBS)
    assert response.status_code == 200, response.text
    assert response.headers["x-cascadia-tier"] == "small"


def test_token_ids_reach_no_tier_above_either(client: httpx.Client) -> None:
    ids = ids_of(SMALL, "rev abcdefghij")
    answer = generate(client, "", headers={"x-cascadia-threshold": "1"}, input_ids=ids)
    reasons = [attempt["reason"] for attempt in answer["meta_info"]["cascadia"]["attempts"]]
    assert reasons == ["other_tokenizer", "other_tokenizer", "last_tier"]


def test_every_route_answers_from_the_twin(pair: Pair, client: httpx.Client) -> None:
    prompt = PROMPTS[0]
    chat = [{"role": "user", "content": prompt}]
    with pair.demo.client() as demo:
        expected = generate(demo, prompt, headers=LARGE)["text"]
    bodies = {
        "/v1/chat/completions": {"messages": chat, "max_tokens": 96, "temperature": 0},
        "/v1/completions": {"prompt": prompt, "max_tokens": 96, "temperature": 0},
        "/v1/messages": {"messages": chat, "max_tokens": 96, "temperature": 0},
        "/v1/responses": {"input": prompt, "max_output_tokens": 96, "temperature": 0},
        "/api/chat": {"messages": chat, "stream": False, "options": {"temperature": 0}},
        "/api/generate": {"prompt": prompt, "stream": False, "options": {"temperature": 0}},
    }
    read = {
        "/v1/chat/completions": lambda a: a["choices"][0]["message"]["content"],
        "/v1/completions": lambda a: a["choices"][0]["text"],
        "/v1/messages": lambda a: a["content"][0]["text"],
        "/v1/responses": lambda a: a["output"][0]["content"][0]["text"],
        "/api/chat": lambda a: a["message"]["content"],
        "/api/generate": lambda a: a["response"],
    }
    for path, body in bodies.items():
        for headers in (LARGE, CLIMBS):
            response = client.post(path, json={"model": "cascadia", **body}, headers=headers)
            assert response.status_code == 200, (path, response.text)
            assert read[path](response.json()) == expected, path
            assert response.headers["x-cascadia-tier"] == "large"


@pytest.mark.parametrize("mode", ["buffered", "commit", "direct"])
def test_a_stream_of_the_responses_api_is_the_answering_tiers(pair: Pair, mode: str) -> None:
    def ask(client: httpx.Client, text: str) -> Any:
        body = {"model": "cascadia", "input": text, "temperature": 0, "stream": True}
        body |= {"max_output_tokens": 96}
        headers = {**WAITS, "x-cascadia-stream": mode}
        with client.stream("POST", "/v1/responses", json=body, headers=headers) as response:
            assert response.status_code == 200
            lines = list(response.iter_lines())
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        written = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
        whole = events[-1]["response"]
        assert whole["output"][0]["content"][0]["text"] == written
        return written, whole["status"], whole["usage"], response.headers["x-cascadia-tier"]

    demo, twin = pair.both(ask)
    assert twin == demo


def test_status_and_models_name_the_voices(pair: Pair, client: httpx.Client) -> None:
    assert [tier["voice"] for tier in pair.twin.status()["tiers"]] == [*pair.models]
    cards = client.get("/v1/models").json()["data"]
    named = {card["id"]: card["voice"] for card in cards}
    assert named == {"cascadia": "small", **{name: name for name in pair.models}}
    assert [tier["voice"] for tier in pair.demo.status()["tiers"]] == ["small", "small"]


def detokenizers(server: Server) -> list[Any]:
    """The detokenizers of a server, in the order of their starts."""
    processes = [
        process for process in server.family() if process.cmdline()[0].startswith("sglang::detok")
    ]
    return sorted(processes, key=lambda process: process.create_time())


def test_each_tokenizer_has_a_detokenizer_and_a_lost_one_is_replaced(pair: Pair) -> None:
    assert len(detokenizers(pair.demo)) == 1
    before = detokenizers(pair.twin)
    assert len(before) == 3
    params = {"temperature": 0, "max_new_tokens": 600, "ignore_eos": True}
    with pair.twin.client(timeout=120) as client, ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(
                generate, client, PROMPTS[0], sampling_params=params, headers={"x-cascadia-tier": t}
            )
            for t in ("small", "large")
        ]
        deadline = time.monotonic() + 20
        while sum(worker["running"] for worker in pair.twin.status()["workers"]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        before[1].kill()
        small, large = (future.result(120) for future in running)
    assert small["meta_info"]["completion_tokens"] == 600
    assert large["meta_info"]["completion_tokens"] == 600
    reasons = [
        [attempt["reason"] for attempt in answer["meta_info"]["cascadia"]["attempts"]]
        for answer in (small, large)
    ]
    assert reasons == [["pinned"], ["worker_lost", "pinned"]]
    after = detokenizers(pair.twin)
    assert after[0].pid == before[0].pid
    assert len(after) == 3
    assert before[1].pid not in [process.pid for process in after]


# Another segmentation


BYTES = {"x-cascadia-tier": "bytes"}
WRITES_ON = {"temperature": 0, "max_new_tokens": 60, "ignore_eos": True}


@pytest.mark.parametrize("prompt", ["add 1 2", "🙂 in ½ Größe", "rev abc\n\n"])
def test_a_text_is_what_the_tiers_own_tokenizer_makes_of_its_ids(
    pair: Pair, client: httpx.Client, prompt: str
) -> None:
    tokenizer = Tokenizer.from_file(str(pair.models["bytes"] / "tokenizer.json"))
    answer = generate(client, prompt, sampling_params=WRITES_ON, headers=BYTES)
    assert answer["meta_info"]["prompt_tokens"] == len(tokenizer.encode(prompt).ids)
    assert answer["text"] == tokenizer.decode(answer["output_ids"])
    body = {"text": prompt, "sampling_params": WRITES_ON, "stream": True}
    with client.stream("POST", "/generate", json=body, headers=BYTES) as response:
        lines = list(response.iter_lines())
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    texts = [json.loads(line)["text"] for line in data if line != "[DONE]"]
    assert texts[-1] == answer["text"]
    assert len(texts) > 10


def test_a_stop_string_of_the_tiers_own_tokens_ends_its_answer(client: httpx.Client) -> None:
    for prompt in PROMPTS:
        whole = generate(client, prompt, sampling_params=WRITES_ON, headers=BYTES)["text"]
        pieces = [whole[start : start + 3] for start in range(5, len(whole) - 3)]
        pieces = [piece for piece in pieces if "\ufffd" not in piece and whole.index(piece) > 4]
        if pieces:
            break
    stop = pieces[0]
    params = {**WRITES_ON, "stop": [stop]}
    answer = generate(client, prompt, sampling_params=params, headers=BYTES)
    assert answer["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert answer["text"] == whole[: whole.index(stop)]


def test_a_tiers_parser_reads_its_own_answers_alone(client: httpx.Client) -> None:
    """Without an end of its reasoning, all that the third tier writes is reasoning."""
    reasoning_by_tier = {}
    for tier in ("large", "bytes"):
        body = {"model": tier, "messages": [{"role": "user", "content": "add 1 2"}]}
        body |= {"temperature": 0, "max_tokens": 8}
        answer = client.post("/v1/chat/completions", json=body).json()
        reasoning_by_tier[tier] = answer["choices"][0]["message"].get("reasoning_content")
    assert reasoning_by_tier["large"] is None
    assert reasoning_by_tier["bytes"]


# Drafts in other tokens


def test_an_answer_that_goes_on_from_a_translated_draft_is_the_tiers_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What it keeps is what both models begin with: the twin has the pieces of the small one."""
    with (
        serving(tmp_path_factory.mktemp("reading"), drafts="on", early_abort=None) as (server, _),
        server.client() as client,
        ThreadPoolExecutor(8) as threads,
    ):

        def ask(headers: dict[str, str]) -> list[Any]:
            return list(threads.map(lambda text: generate(client, text, headers=headers), PROMPTS))

        small, large, read = ask({"x-cascadia-tier": "small"}), ask(LARGE), ask(CLIMBS)
    expected = kept_tokens = 0
    for draft, alone, answer in zip(small, large, read, strict=True):
        assert answer["text"] == alone["text"]
        assert answer["output_ids"] == alone["output_ids"]
        tokens = answer["meta_info"]["completion_tokens"]
        assert tokens == alone["meta_info"]["completion_tokens"]
        kept_tokens += answer["meta_info"]["cascadia"]["attempts"][-1].get("kept", 0)
        # A piece is a character.
        pairs = zip(draft["text"], alone["text"], strict=False)
        expected += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    assert expected > 0
    assert abs(kept_tokens - expected) <= 2 * len(PROMPTS)
