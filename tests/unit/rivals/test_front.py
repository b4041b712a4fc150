"""A proxy does not use a connection again that its server may be closing."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient

from bench.rivals.front import FROM_HEADER, SERVER_IDLE_S, build_app
from bench.rivals.proxy import climb


class Once(BaseHTTPRequestHandler):
    """Answers one request a connection, and closes it upon the next, as a server that idled."""

    protocol_version = "HTTP/1.1"
    has_answered = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.has_answered:
            self.close_connection = True
            return
        self.has_answered = True
        meta: dict[str, object] = {"completion_tokens": 3}
        if asked.get("return_logprob"):
            meta["output_token_logprobs"] = [[-0.2, 5], [-0.4, 6]]
        content = json.dumps({"text": asked["text"], "meta_info": meta}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Once)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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
