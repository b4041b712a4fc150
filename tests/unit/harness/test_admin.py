"""The admin routes of a bench's server, over a server that answers as SGLang's does."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.harness.admin import KEY, ask, flush_caches


class Routes(BaseHTTPRequestHandler):
    """JSON on one route, words on the other, and a refusal on any other."""

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        answers = {"/json": b'{"a": 1}', "/flush_cache": b"Cache flushed.\n"}
        is_known = path in answers and self.headers["authorization"] == f"Bearer {KEY}"
        self.send_response(200 if is_known else 400)
        self.end_headers()
        self.wfile.write(answers.get(path, b"no such route"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Routes) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_answer_in_words_is_no_error(port: int) -> None:
    flush_caches(port)


def test_an_answer_in_json_is_read(port: int) -> None:
    assert ask(port, "POST", "/json") == {"a": 1}


def test_a_refusal_is_raised_in_its_own_words(port: int) -> None:
    with pytest.raises(RuntimeError, match="POST /other: 400 no such route"):
        ask(port, "POST", "/other")
