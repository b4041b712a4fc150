"""What the recorder reads of a response."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from bench.real.question_sets import Question, question_set
from bench.real.record import ask
from cascadia_sglang.errors import RefusedError
from cascadia_sglang.judge.features import FEATURES

QUESTION: Question = question_set("short")[0]
LOST = {"tier": "model", "reason": "worker_lost", "output_ids": [9]}


def attempt(output_ids: list[int], rows: int) -> dict[str, Any]:
    features = [[0.5] * len(FEATURES) for _ in range(rows)]
    return {"tier": "model", "output_ids": output_ids, "record": {"features": features}}


@contextmanager
def responding(attempts: list[dict[str, Any]]) -> Iterator[http.client.HTTPConnection]:
    choice = {
        "message": {"content": "42"},
        "finish_reason": "stop",
        "meta_info": {"prompt_tokens": 5, "cascadia": {"attempts": attempts}},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            del args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        try:
            yield connection
        finally:
            connection.close()
            thread.join(10)


@pytest.mark.parametrize("lost", [[], [LOST], [LOST, LOST]])
def test_an_answer_is_the_last_attempts(lost: list[dict[str, Any]]) -> None:
    with responding([*lost, attempt([4, 2], 2)]) as connection:
        [answer] = ask(connection, QUESTION, "model", 0.0)
    assert answer.output_ids == [4, 2]


def test_an_answer_with_tokens_that_were_not_recorded_is_refused() -> None:
    with (
        responding([attempt([4, 2], 1)]) as connection,
        pytest.raises(RefusedError, match="1 of 2 tokens recorded"),
    ):
        ask(connection, QUESTION, "model", 0.0)
