"""What a client gets from the running demo cascade."""

import asyncio
import json

import httpx
import openai
import pytest

pytestmark = pytest.mark.sglang

EASY = "rev abc"
GREEDY = {"temperature": 0, "max_new_tokens": 24}


def generate(demo, headers=None, **body):
    body = {"text": EASY, "sampling_params": GREEDY, **body}
    with demo.client() as client:
        return client.post("/generate", json=body, headers=headers or {})


def test_the_openai_client_is_answered_by_the_cascade(demo):
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model="cascadia", messages=[{"role": "user", "content": EASY}], temperature=0
        )
    assert answer.choices[0].message.content == "cba"
    assert answer.choices[0].finish_reason == "stop"


def test_an_accepted_answer_comes_from_the_first_tier(demo):
    response = generate(demo, {"x-cascadia-threshold": "0"})
    story = response.json()["meta_info"]["cascadia"]
    assert (story["tier"], story["tier_index"]) == ("small", 0)
    assert [attempt["reason"] for attempt in story["attempts"]] == ["accepted"]
    assert response.headers["x-cascadia-tier"] == "small"
    assert response.headers["x-cascadia-attempts"] == "1"
    assert 0 <= story["score"] <= 1


def test_an_answer_below_the_threshold_climbs(demo):
    response = generate(demo, {"x-cascadia-threshold": "1"})
    story = response.json()["meta_info"]["cascadia"]
    assert story["tier"] == "large"
    assert [attempt["tier"] for attempt in story["attempts"]] == ["small", "large"]
    assert story["attempts"][0]["reason"] in ("below_threshold", "early_abort")
    assert story["attempts"][1]["reason"] == "last_tier"
    total = sum(attempt["tokens"] for attempt in story["attempts"])
    assert response.headers["x-cascadia-total-tokens"] == str(total)


def test_a_hopeless_attempt_is_ended_in_the_worker(demo):
    """The small tier adds one or two digits; five are beyond it, and its judge sees that early."""
    response = generate(demo, {"x-cascadia-threshold": "0.999"}, text="add 98765 43219")
    first = response.json()["meta_info"]["cascadia"]["attempts"][0]
    assert first["reason"] == "early_abort"
    assert first["tokens"] < 24


def test_the_openapi_document_lists_the_headers_that_come(demo):
    response = generate(demo, {"x-cascadia-threshold": "0"})
    with demo.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    operation = paths["/generate"]["post"]
    came = {name for name in response.headers if name.startswith("x-cascadia-")}
    assert came <= set(operation["responses"]["200"]["headers"])
    tiers = next(p for p in operation["parameters"] if p["name"] == "x-cascadia-tier")
    assert tiers["schema"]["enum"] == ["small", "large"]
    assert "x-cascadia" not in str(paths["/v1/models"])


@pytest.mark.parametrize("tier", ["small", "large"])
def test_a_pinned_tier_answers_alone(demo, tier):
    for body, headers in (({"model": tier}, {}), ({"model": "small"}, {"x-cascadia-tier": tier})):
        with demo.client() as client:
            response = client.post(
                "/v1/completions",
                json={"prompt": EASY, "temperature": 0, **body},
                headers=headers,
            )
        assert response.headers["x-cascadia-tier"] == tier
        assert response.headers["x-cascadia-attempts"] == "1"
        assert response.json()["choices"][0]["text"] == "cba"


def test_max_tier_answers_as_the_last_one(demo):
    response = generate(demo, {"x-cascadia-max-tier": "small", "x-cascadia-threshold": "1"})
    attempts = response.json()["meta_info"]["cascadia"]["attempts"]
    assert [a["reason"] for a in attempts] == ["last_tier"]


@pytest.mark.parametrize("model", ["cascadia", "default", ""])
def test_these_names_mean_the_cascade(demo, model):
    with demo.client() as client:
        response = client.post("/v1/completions", json={"model": model, "prompt": EASY})
    assert response.status_code == 200


@pytest.mark.parametrize("route", ["completions", "chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_404(demo, route, stream):
    body = {"model": "gpt-4", "stream": stream}
    body |= (
        {"prompt": EASY}
        if route == "completions"
        else {"messages": [{"role": "user", "content": EASY}]}
    )
    with demo.client() as client:
        response = client.post(f"/v1/{route}", json=body)
    assert response.status_code == 404
    assert "gpt-4" in response.json()["message"]
    assert "small, large" in response.json()["message"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-cascadia-threshold", "1.5"),
        ("x-cascadia-threshold", "nan"),
        ("x-cascadia-tier", "medium"),
        ("x-cascadia-max-tier", "7"),
        ("x-cascadia-deadline-ms", "-3"),
        ("x-cascadia-stream", "sometimes"),
        ("x-cascadia-allow-degraded", "maybe"),
        ("x-cascadia-treshold", "0.5"),
    ],
)
def test_a_malformed_control_is_a_400_that_names_it(demo, header, value):
    for path, body in (
        ("/generate", {"text": EASY}),
        ("/v1/completions", {"model": "cascadia", "prompt": EASY, "stream": True}),
    ):
        with demo.client() as client:
            response = client.post(path, json=body, headers={header: value})
        assert response.status_code == 400
        assert header in response.text
        assert "allowed" in response.text


def test_a_deadline_that_passes_is_a_504_and_leaves_nothing_running(demo):
    response = generate(demo, {"x-cascadia-deadline-ms": "1"})
    assert response.status_code == 504
    assert generate(demo).status_code == 200
    status = demo.status()
    assert status["active"] == 0
    assert [worker["running"] for worker in status["workers"]] == [0, 0]


def test_a_batch_keeps_its_order_and_counts_every_tier(demo):
    texts = [f"rev {'abcdefghij'[:n]}" for n in range(2, 10)]
    response = generate(demo, {"x-cascadia-threshold": "1"}, text=texts)
    items = response.json()
    assert [item["meta_info"]["cascadia"]["tier"] for item in items] == ["large"] * 8
    with demo.client() as client:
        alone = [
            client.post(
                "/generate",
                json={"text": text, "sampling_params": GREEDY},
                headers={"x-cascadia-tier": "large"},
            ).json()["text"]
            for text in texts
        ]
    assert [item["text"] for item in items] == alone
    assert response.headers["x-cascadia-attempts"] == "16"
    assert response.headers["x-cascadia-tier"] == "large"


def test_samples_of_a_prompt_stay_on_one_tier(demo):
    with demo.client() as client:
        response = client.post(
            "/v1/chat/completions",
            json={
                "model": "cascadia",
                "n": 3,
                "temperature": 0.5,
                "messages": [{"role": "user", "content": EASY}],
            },
            headers={"x-cascadia-threshold": "0"},
        )
    assert [choice["index"] for choice in response.json()["choices"]] == [0, 1, 2]
    assert response.headers["x-cascadia-tier"] == "small"
    assert response.headers["x-cascadia-attempts"] == "3"
    assert response.json()["usage"]["completion_tokens"] == int(
        response.headers["x-cascadia-total-tokens"]
    )


def test_a_stream_begins_after_acceptance_and_carries_the_headers(demo):
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none") as client:
        raw = client.chat.completions.with_raw_response.create(
            model="cascadia",
            messages=[{"role": "user", "content": EASY}],
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers={"x-cascadia-threshold": "1"},
        )
        chunks = list(raw.parse())
    assert raw.headers["x-cascadia-tier"] == "large"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "cba"
    assert chunks[-1].usage.completion_tokens == 4


def test_a_native_stream_ends_with_done(demo):
    response = generate(demo, stream=True)
    events = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["text"] == "cba"
    assert response.headers["x-cascadia-tier"] in ("small", "large")


def test_the_callers_rid_comes_back_and_can_be_used_again(demo):
    for _ in range(2):
        assert generate(demo, rid="mine").json()["meta_info"]["id"] == "mine"


def test_a_prompt_that_fits_no_tier_gets_sglangs_own_400(demo):
    response = generate(demo, text="note " + "a" * 3000)
    assert response.status_code == 400
    assert "context length" in response.text


def test_a_constrained_request_goes_to_the_last_tier(demo):
    params = {**GREEDY, "regex": "[a-z]{3}"}
    story = generate(demo, sampling_params=params).json()["meta_info"]["cascadia"]
    assert [attempt["tier"] for attempt in story["attempts"]] == ["large"]


def test_models_lists_the_cascade_and_every_tier(demo):
    with demo.client() as client:
        names = [card["id"] for card in client.get("/v1/models").json()["data"]]
        assert names == ["cascadia", "small", "large"]
        assert client.get("/v1/models/large").json()["id"] == "large"
        assert client.get("/v1/models/nope").status_code == 404


def test_sixty_four_clients_at_once_each_get_their_own_answer(demo):
    """Every answer belongs to its own prompt: the pinned tier says the same alone."""
    prompts = [f"sort {a}{b}{c}" for a in "jih" for b in "abcdefg" for c in "fed"]

    async def run(headers: dict[str, str], limit: int) -> list[str]:
        gate = asyncio.Semaphore(limit)
        async with httpx.AsyncClient(base_url=demo.url, timeout=60) as client:

            async def answer_of(prompt: str) -> str:
                async with gate:
                    response = await client.post(
                        "/generate",
                        json={"text": prompt, "sampling_params": GREEDY},
                        headers=headers,
                    )
                    return response.json()["text"]

            return await asyncio.gather(*map(answer_of, prompts))

    together = asyncio.run(run({"x-cascadia-threshold": "0"}, 64))
    alone = asyncio.run(run({"x-cascadia-tier": "small"}, 1))
    differing = sum(a != b for a, b in zip(together, alone, strict=True))
    # Batched matrix products round differently: a near tie may fall the other way.
    assert differing <= 2


def test_health_and_cache_control_reach_the_workers(demo):
    with demo.client() as client:
        assert client.get("/health_generate").status_code == 200
        assert client.post("/flush_cache").status_code == 200
        assert client.get("/server_info").status_code == 200


def test_a_client_that_disconnects_leaves_nothing_behind(demo):
    import time

    with pytest.raises(httpx.ReadTimeout), demo.client(timeout=0.05) as client:
        client.post(
            "/generate",
            json={"text": EASY, "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}},
            headers={"x-cascadia-tier": "large"},
        )
    deadline = time.monotonic() + 5
    while demo.status()["active"] and time.monotonic() < deadline:
        time.sleep(0.1)
    status = demo.status()
    assert status["active"] == 0
    assert all(worker["running"] == 0 for worker in status["workers"])


def test_the_continuations_of_a_question_are_scored_by_the_same_tier(demo):
    """As evaluation harnesses ask: log-probabilities of the prompt, which is echoed."""
    tiers = set()
    with demo.client() as client:
        for number in range(8):
            for continuation in ("1", "99"):
                body = {
                    "model": "cascadia",
                    "prompt": f"add {number} {number}{continuation}",
                    "max_tokens": 1,
                    "echo": True,
                    "logprobs": 1,
                    "temperature": 0,
                }
                response = client.post("/v1/completions", json=body)
                assert response.status_code == 200
                tiers.add(response.headers["x-cascadia-tier"])
        native = {
            "text": "add 1 1",
            "sampling_params": {"max_new_tokens": 1},
            "return_logprob": True,
            "logprob_start_len": 0,
        }
        summary = client.post("/generate", json=native).json()["meta_info"]["cascadia"]
        low = client.post("/generate", json=native, headers={"x-cascadia-max-tier": "small"})
    assert tiers == {"large"}
    assert (summary["tier"], summary["attempts"][-1]["reason"]) == ("large", "scoring")
    assert low.json()["meta_info"]["cascadia"]["tier"] == "small"


def test_a_deadline_keeps_what_was_written_where_a_degraded_answer_is_taken(demo):
    body = {
        "text": "rev abc",
        "sampling_params": {"temperature": 0, "max_new_tokens": 1900, "ignore_eos": True},
    }
    headers = {"x-cascadia-tier": "large", "x-cascadia-deadline-ms": "700"}
    with demo.client() as client:
        late = client.post("/generate", json=body, headers=headers)
        partial = client.post(
            "/generate", json=body, headers={**headers, "x-cascadia-allow-degraded": "true"}
        )
    assert late.status_code == 504
    assert partial.status_code == 200
    meta = partial.json()["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": meta["completion_tokens"]}
    assert 0 < meta["completion_tokens"] < 1900
    assert len(partial.json()["text"]) > 0
    assert meta["cascadia"]["attempts"][-1]["reason"] == "degraded"
