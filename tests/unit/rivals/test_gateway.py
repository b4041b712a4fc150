"""A cascade through a gateway that speaks OpenAI's protocol."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bench.rivals.front import build_app
from bench.rivals.gateway import complete, litellm, name_of
from bench.rivals.proxy import climb

SAMPLING = {"temperature": 0, "max_new_tokens": 9}


class Gateway(BaseHTTPRequestHandler):
    """Names the model that answers; the first one's log-probabilities are -0.3 in the mean."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["authorization"] == "Bearer k"
        self.asked.append({"path": self.path, **body})
        logprobs = {"token_logprobs": [-0.2, -0.4]} if "logprobs" in body else None
        choice = {"text": body["model"], "logprobs": logprobs}
        content = json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("least", "tier", "tokens"), [(-0.31, 0, 2), (-0.29, 1, 4)])
def test_a_tier_is_asked_by_its_name_and_its_answer_climbs_below_the_threshold(
    gateway: str, least: float, tier: int, tokens: int
) -> None:
    tiers = [(name_of(0), least), (name_of(1), float("-inf"))]
    app = build_app(partial(climb, ask=partial(complete, gateway=gateway, key="k")), tiers)
    with TestClient(app) as client:
        asked = {"text": "mul 3 4", "sampling_params": SAMPLING, "stream": True}
        answer = client.post("/generate", json=asked).json()
    assert answer["text"] == name_of(tier)
    assert answer["meta_info"] == {"completion_tokens": 2, "proxy_tokens": tokens}
    first = {"model": name_of(0), "prompt": "mul 3 4", "temperature": 0, "max_tokens": 9}
    assert Gateway.asked[0] == {"path": "/v1/completions", "logprobs": 0, **first}
    assert [one["model"] for one in Gateway.asked] == [name_of(n) for n in range(tier + 1)]


def test_a_gateway_that_ends_is_told() -> None:
    with (
        pytest.raises(RuntimeError, match="LiteLLM ended with 1"),
        litellm(Path("/bin/false"), [], "k"),
    ):
        pass
