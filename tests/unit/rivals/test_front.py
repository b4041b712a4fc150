"""A proxy does not use a connection again that its server may be closing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bench.rivals.fronts.front import FROM_HEADER, SERVER_IDLE_S, build_app
from bench.rivals.fronts.proxy import climb
from tests.unit.rivals.fake import JsonHandler, running


class Once(JsonHandler):
    """Answers one request a connection, and closes it upon the next, as a server that idled."""

    has_answered = False

    def answer(self, body: Any) -> None:
        if self.has_answered:
            self.close_connection = True
            return
        self.has_answered = True
        meta: dict[str, object] = {"completion_tokens": 3}
        if body.get("return_logprob"):
            meta["output_token_logprobs"] = [[-0.2, 5], [-0.4, 6]]
        self.reply({"text": body["text"], "meta_info": meta})


@pytest.fixture
def url() -> Iterator[str]:
    with running(Once) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_connection_that_idled_is_not_used_again(url: str) -> None:
    with TestClient(build_app(climb, [(url, float("-inf"))])) as client:
        for wait_s in (0.0, SERVER_IDLE_S + 0.5):
            time.sleep(wait_s)
            assert client.post("/generate", json={"text": "a"}).json()["text"] == "a"


@pytest.mark.parametrize(("least", "tokens"), [(-0.31, 3), (-0.29, 6)])
def test_an_answer_below_the_threshold_climbs_and_a_header_sets_it(
    url: str, least: float, tokens: int
) -> None:
    tiers = [(url, 0.0), (url.replace("127.0.0.1", "localhost"), float("-inf"))]
    with TestClient(build_app(climb, tiers)) as client:
        headers = {FROM_HEADER: str(least)}
        answer = client.post("/generate", json={"text": "a"}, headers=headers).json()
    assert answer["meta_info"]["proxy_tokens"] == tokens
    assert "output_token_logprobs" not in answer["meta_info"]
