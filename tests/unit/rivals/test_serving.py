"""SGLang's load generator, as it is, takes our flags and says what we read."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.ladder.splits import sample
from bench.rivals.serving import FIGURES, served
from bench.rivals.systems import plain_servers

WAIT_S = 0.2


class Native(BaseHTTPRequestHandler):
    """Answers whole after `WAIT_S`; not the request of the number `broken`."""

    protocol_version = "HTTP/1.1"
    asked = 0
    broken: int | None = None

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["sampling_params"]["ignore_eos"] is False
        Native.asked += 1
        status = 500 if Native.asked == Native.broken else 200
        time.sleep(WAIT_S)
        answer = {"text": "12", "meta_info": {"completion_tokens": 3, "prompt_tokens": 5}}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Native)
    server.daemon_threads = True
    Native.asked, Native.broken = 0, None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_its_figures_are_those_of_a_server_that_takes_a_known_time(
    tmp_path: Path, port: int
) -> None:
    _, (_, model, *_) = plain_servers()["small"]
    found = served(tmp_path, port, model, sample("test", 1, 8), 50.0, 1)
    assert set(found) == set(FIGURES)
    assert 1000 * WAIT_S <= found["median_e2e_latency_ms"] < 1000 * (WAIT_S + 0.5)
    assert found["median_ttft_ms"] == pytest.approx(found["median_e2e_latency_ms"], rel=0.1)


def test_a_request_that_fails_is_told(tmp_path: Path, port: int) -> None:
    _, (_, model, *_) = plain_servers()["small"]
    Native.broken = 2  # the first is a warm-up
    with pytest.raises(RuntimeError, match=f"port {port} answered 1 of 2 requests"):
        served(tmp_path, port, model, sample("test", 1, 2), 50.0, 1)
