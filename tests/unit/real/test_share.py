"""What the client of a live run sends, and what it keeps of the streams."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.real.questions import MAX_TOKENS, questions
from bench.real.share import IN_FLIGHT, ask_all

ASKED = questions(mix_size=8)


class Server(ThreadingHTTPServer):
    """Streams the length of a prompt; a prompt of even length climbs. Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.bodies: list[dict] = []
        self.keep_alives: list[str | None] = []
        self.under_way = self.most_under_way = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keep_alives.append(self.headers.get("x-cascadia-keep-alive"))
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        length = len(body["messages"][-1]["content"])
        time.sleep(0.05 if length % 3 else 0.0)
        with self.server.lock:
            self.server.under_way -= 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("x-cascadia-tier", "small" if length % 2 else "large")
        if length % 2:
            self.send_header("x-cascadia-score", "0.250000")
        self.end_headers()
        for part in ("", *str(length), None):
            choice = {"index": 0, "delta": {"content": part}, "finish_reason": None}
            self._send({"choices": [choice]})
        self._send({"choices": []})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, chunk: dict) -> None:
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "cascadia"}
        self.wfile.write(f"data: {json.dumps({**head, **chunk})}\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_replies_come_in_the_order_of_the_questions_with_what_the_headers_say(server) -> None:
    replies = ask_all(server.server_address[1], ASKED)
    assert [reply.id for reply in replies] == [question.id for question in ASKED]
    for reply, question in zip(replies, ASKED, strict=True):
        length = len(question.prompt)
        assert reply.text == str(length)
        assert (reply.tier, reply.score) == (("small", 0.25) if length % 2 else ("large", None))
    assert 1 < server.most_under_way <= IN_FLIGHT


def test_every_question_is_streamed_greedily_with_the_same_messages_before_it(server) -> None:
    ask_all(server.server_address[1], ASKED)
    assert {body["messages"][-1]["content"] for body in server.bodies} == {q.prompt for q in ASKED}
    for body in server.bodies:
        assert body["messages"][:-1] == server.bodies[0]["messages"][:-1]
        assert body["stream"] is True
        assert body["temperature"] == 0.0
        assert body["max_tokens"] == MAX_TOKENS
        assert body["model"] == "cascadia"
    assert set(server.keep_alives) == {"0"}
