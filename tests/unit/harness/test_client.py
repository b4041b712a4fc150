"""The load client against a server on the loopback address that cuts its replies anywhere."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from bench.harness.client import post, send_all, send_at

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"text":"hi"}'
STREAMED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b'11\r\ndata: {"text":1}\n\r\n1\r\n\n\r\n'
    b'12\r\ndata: {"text":2}\n\n\r\n'
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)


@contextmanager
def serving(reply: Callable[[bytes], Iterable[bytes]], closes: bool = False) -> Iterator[int]:
    """Answer every request on any number of connections with the pieces that `reply` gives.

    Args:
        closes: whether a connection is closed after its first answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while request := connection.recv(65536):
                    for piece in reply(request):
                        connection.sendall(piece)
                        time.sleep(0.001)
                    if closes:
                        return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def in_pieces(reply: bytes, size: int) -> list[bytes]:
    return [reply[i : i + size] for i in range(0, len(reply), size)]


@pytest.mark.parametrize("size", [1, 7, 1000], ids=lambda size: f"pieces of {size}")
@pytest.mark.parametrize(
    ("reply", "text"), [(PLAIN, "hi"), (STREAMED, 2)], ids=["plain", "streamed"]
)
def test_a_reply_is_whole_however_it_arrives(reply: bytes, text: object, size: int) -> None:
    with serving(lambda _: in_pieces(reply, size)) as port:
        sent = send_all(port, [post("/generate", {"text": "x"})] * 3, concurrency=2)
    assert [r.json()["text"] for r in sent.replies] == [text] * 3


def test_replies_are_in_the_order_of_the_requests() -> None:
    def echo(request: bytes) -> list[bytes]:
        body = request.partition(b"\r\n\r\n")[2]
        time.sleep(0.01 * (3 - json.loads(body)["number"] % 4))
        return [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body]

    with serving(echo) as port:
        sent = send_all(port, [post("/", {"number": n}) for n in range(12)], concurrency=4)
    assert [reply.json()["number"] for reply in sent.replies] == list(range(12))
    assert 0.0 < max(reply.seconds for reply in sent.replies) <= sent.seconds


def test_a_reply_that_is_not_200_raises_with_its_text() -> None:
    refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
    with serving(lambda _: [refusal]) as port, pytest.raises(RuntimeError, match="busy"):
        send_all(port, [post("/", {})], concurrency=1)


def test_a_closed_connection_raises() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        threading.Thread(target=close, daemon=True).start()
        with pytest.raises((RuntimeError, ConnectionError)):
            send_all(listener.getsockname()[1], [post("/", {})], concurrency=1)


def test_headers_travel_with_a_request() -> None:
    seen: list[bytes] = []

    def note(request: bytes) -> list[bytes]:
        seen.append(request)
        return [PLAIN]

    with serving(note) as port:
        send_all(port, [post("/generate", {}, {"x-cascadia-tier": "large"})], concurrency=1)
    assert b"\r\nx-cascadia-tier: large\r\n" in seen[0]


def test_first_byte_is_that_of_the_body_not_of_the_head() -> None:
    head, _, body = STREAMED.partition(b"\r\n\r\n")

    def reply(_: bytes) -> Iterator[bytes]:
        yield head + b"\r\n\r\n"
        time.sleep(0.05)
        yield body[:20]
        time.sleep(0.05)
        yield body[20:]

    with serving(reply) as port:
        (answered,) = send_all(port, [post("/generate", {"text": "x"})], concurrency=1).replies
    assert 0.05 <= answered.first_byte_s <= answered.seconds - 0.05


def test_an_open_loop_sends_at_its_times_whatever_is_under_way() -> None:
    """All answers wait for the last request: a closed loop would never send it."""
    count = 5
    everyone = threading.Barrier(count, timeout=10)

    def reply(_: bytes) -> Iterable[bytes]:
        everyone.wait()
        yield PLAIN

    at_s = [0.05 * index for index in range(count)]
    with serving(reply) as port:
        sent = send_at(port, [post("/generate", {"text": "x"})] * count, at_s)
    latencies_s = [answer.seconds for answer in sent.replies]
    for earlier, later in itertools.pairwise(latencies_s):
        assert earlier - later == pytest.approx(0.05, abs=0.04)


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """With one connection the second of two requests waits for the first."""

    def reply(_: bytes) -> Iterable[bytes]:
        return in_pieces(PLAIN, 1)

    with serving(reply) as port:
        sent = send_at(port, [post("/generate", {"text": "x"})] * 2, [0.0, 0.0], width=1)
    first, second = (answer.seconds for answer in sent.replies)
    assert second > 1.5 * first


def test_an_open_loop_does_not_mind_a_server_that_closes_what_idles() -> None:
    def reply(_: bytes) -> Iterable[bytes]:
        return in_pieces(PLAIN, 1)

    at_s = [0.02 * index for index in range(5)]
    with serving(reply, closes=True) as port:
        sent = send_at(port, [post("/generate", {"text": "x"})] * 5, at_s, width=2)
    assert [answer.status for answer in sent.replies] == [200] * 5
