"""A cascade through a gateway that speaks OpenAI's protocol."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bench.rivals.fronts.front import build_app
from bench.rivals.fronts.gateway import complete, litellm, name_of
from bench.rivals.fronts.proxy import climb
from tests.unit.rivals.fake import JsonHandler, running

SAMPLING = {"temperature": 0, "max_new_tokens": 9}


class Gateway(JsonHandler):
    """Names the model that answers; the first one's log-probabilities are -0.3 in the mean."""

    seen: list[dict[str, Any]]

    def answer(self, body: Any) -> None:
        assert self.headers["authorization"] == "Bearer k"
        self.seen.append({"path": self.path, **body})
        logprobs = {"token_logprobs": [-0.2, -0.4]} if "logprobs" in body else None
        choice = {"text": body["model"], "logprobs": logprobs}
        self.reply({"choices": [choice], "usage": {"completion_tokens": 2}})


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.seen = []
    with running(Gateway) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("least", "tier", "tokens"), [(-0.31, 0, 2), (-0.29, 1, 4)])
def test_a_tier_is_asked_by_its_name_and_its_answer_climbs_below_the_threshold(
    gateway: str, least: float, tier: int, tokens: int
) -> None:
    tiers = [(name_of(0), least), (name_of(1), float("-inf"))]
    app = build_app(partial(climb, ask=partial(complete, gateway=gateway, key="k")), tiers)
    with TestClient(app) as client:
        body = {"text": "mul 3 4", "sampling_params": SAMPLING, "stream": True}
        answer = client.post("/generate", json=body).json()
    assert answer["text"] == name_of(tier)
    assert answer["meta_info"] == {"completion_tokens": 2, "proxy_tokens": tokens}
    first = {"model": name_of(0), "prompt": "mul 3 4", "temperature": 0, "max_tokens": 9}
    assert Gateway.seen[0] == {"path": "/v1/completions", "logprobs": 0, **first}
    assert [body["model"] for body in Gateway.seen] == [name_of(n) for n in range(tier + 1)]


def test_a_gateway_that_ends_is_told() -> None:
    with (
        pytest.raises(RuntimeError, match="LiteLLM ended with 1"),
        litellm(Path("/bin/false"), [], "k"),
    ):
        pass
