"""Bodies with types, ranges and sizes off, sent to the real server for 45 seconds."""

import asyncio
import re
import socket
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.router.fuzz import fuzz
from bench.router.fuzz_bodies import ROUTES
from cascadia_sglang.http.size_limits import MOST_HEADER_BYTES
from cascadia_sglang.metrics.labels import ANSWER_REASONS, ESCALATION_REASONS
from tests.system.serving import Server

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

SECONDS = 45.0


@pytest.fixture
def server(default_cascade: Server) -> Server:
    return default_cascade


def worker_pids(server: Server) -> list[list[int]]:
    return [worker["pids"] for worker in server.status()["workers"]]


def label_values(server: Server) -> set[str]:
    """The values of all labels of the cascade's metrics; SGLang's own are its own lists."""
    with server.client() as client:
        page = client.get("/metrics", follow_redirects=True).text
    families = text_string_to_metric_families(page)
    ours = (each for each in families if each.name.startswith("cascadia_"))
    values = {value for each in ours for s in each.samples for value in s.labels.values()}
    assert values
    return values


def is_of_the_code(value: str) -> bool:
    """Whether a label's value is a number, or a word of the lists that labels are taken from."""
    words = {*ANSWER_REASONS, *ESCALATION_REASONS}
    return value in words or re.fullmatch(r"error_[45]\d\d|[-+.\de]+|\+?Inf", value) is not None


def test_no_body_ends_a_worker_or_is_answered_by_a_500_or_costs_another_its_answer(
    server: Server,
) -> None:
    before = worker_pids(server)
    labels = label_values(server)
    report = asyncio.run(fuzz(server.url, seconds=SECONDS))
    assert report.is_clean, "\n".join(report.lines())
    assert {path for path, _ in report.statuses} == set(ROUTES)
    # Both kinds: bodies that are refused, and bodies that reach the workers.
    assert {status // 100 for _, status in report.statuses} == {2, 4}
    assert report.neighbours[True] > 0
    assert worker_pids(server) == before
    # Labels may gain values of the lists in the code, and none of a client's.
    assert {value for value in label_values(server) - labels if not is_of_the_code(value)} == set()


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("stop_regex", {"max_new_tokens": 400, "regex": "a{400}", "stop_regex": "(a+)+b"}),
        ("grammar", {"max_new_tokens": 8, "ebnf": "root ::= root"}),
        ("grammar", {"max_new_tokens": 8, "ebnf": 'root ::= "a" b\nb ::= b'}),
    ],
    ids=["a-pattern-that-backtracks", "a-grammar-without-a-token", "a-grammar-that-leads-nowhere"],
)
def test_what_would_hold_or_end_a_worker_ends_alone_with_a_400(
    server: Server, name: str, params: dict
) -> None:
    before = worker_pids(server)
    with server.client() as client:
        reply = client.post("/generate", json={"text": "rev abcd", "sampling_params": params})
    assert reply.status_code == 400, reply.text
    assert name in reply.text
    assert worker_pids(server) == before


def test_eight_prompts_that_are_too_long_close_nothing_for_others(server: Server) -> None:
    def ask(client: httpx.Client, text: str) -> int:
        body = {"model": "cascadia", "messages": [{"role": "user", "content": text}]}
        return client.post("/v1/chat/completions", json={**body, "max_tokens": 4}).status_code

    with server.client() as client:
        assert [ask(client, "a" * 3000) for _ in range(8)] == [400] * 8
        assert ask(client, "rev abcd") == 200


def test_nothing_is_generated_on_a_larger_tier_than_needed(server: Server) -> None:
    with server.client() as client:
        body = {"text": "rev abcd", "sampling_params": {"max_new_tokens": 0}}
        story = client.post("/generate", json=body).json()["meta_info"]["cascadia"]
    assert [attempt["tier"] for attempt in story["attempts"]] == ["small"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/generate", {"text": "a" * 17 * 2**20}, 413),
        ("/v1/messages", {"model": "cascadia", "messages": "a" * 17 * 2**20}, 413),
        ("/generate", {"text": "a" * 200_000}, 400),
    ],
    ids=["body", "body-in-anthropics-shape", "text-without-room"],
)
def test_what_is_too_large_is_refused_at_once(
    server: Server, path: str, body: dict, status: int
) -> None:
    with server.client(timeout=10) as client:
        assert client.post(path, json=body).status_code == status


@pytest.mark.parametrize("pieces", [1, 8])
def test_headers_that_are_too_large_are_refused(server: Server, pieces: int) -> None:
    head = (
        f"POST /generate HTTP/1.1\r\nhost: test\r\nx-large: {'a' * MOST_HEADER_BYTES}\r\n"
        "connection: close\r\ncontent-length: 2\r\n\r\n{}"
    ).encode()
    size = -(-len(head) // pieces)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start_at in range(0, len(head), size):
            connection.sendall(head[start_at : start_at + size])
            time.sleep(0.05)
        answer = connection.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 431")
