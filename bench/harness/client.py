"""A load client that costs little: HTTP/1.1 over bare asyncio, requests built beforehand.

It shares the machine with the servers that it measures, so replies are only cut out of the byte
stream while the clock runs and parsed afterwards.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One raw response, and when it came.

    Attributes:
        seconds: from the request's first byte to the response's last.
        first_byte_s: to the first byte of its body.
    """

    raw: bytes
    seconds: float
    first_byte_s: float

    @property
    def status(self) -> int:
        return int(self.raw[9:12])

    def json(self) -> Any:
        """The body; of an event stream the last event before `[DONE]`."""
        head, _, body = self.raw.partition(_HEAD_END)
        if b"transfer-encoding: chunked" in head.lower():
            body = b"".join(_chunks(body))
        if body.startswith(b"data: "):
            body = body.strip().split(b"\n\n")[-2].removeprefix(b"data: ")
        return json.loads(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Replies in the order of the requests, and the time from the first byte to the last."""

    replies: list[Reply]
    seconds: float

    @property
    def requests_per_s(self) -> float:
        return len(self.replies) / self.seconds

    @property
    def latencies_ms(self) -> list[float]:
        return [1000 * reply.seconds for reply in self.replies]


def post(path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a POST request with a JSON body."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + _HEAD_END + content


def send_all(port: int, requests: Sequence[bytes], concurrency: int) -> Round:
    """Send requests over `concurrency` connections, each one at a time.

    Connections are opened before the clock starts.

    Raises:
        RuntimeError: for a reply that is not 200, or a closed connection.
    """
    sent = uvloop.run(_send_all(port, requests, concurrency))
    for reply in sent.replies:
        if reply.status != 200:
            raise RuntimeError(f"port {port} answered {reply.raw[:2000]!r}")
    return sent


async def _send_all(port: int, requests: Sequence[bytes], concurrency: int) -> Round:
    loop = asyncio.get_running_loop()
    width = min(concurrency, len(requests))
    opened = [loop.create_connection(_Connection, "127.0.0.1", port) for _ in range(width)]
    pairs = await asyncio.gather(*opened)
    replies: list[Reply | None] = [None] * len(requests)
    waiting = iter(range(len(requests)))

    async def work(connection: _Connection) -> None:
        for index in waiting:
            begin = time.perf_counter()
            raw = await connection.exchange(requests[index])
            replies[index] = Reply(
                raw=raw,
                seconds=time.perf_counter() - begin,
                first_byte_s=connection.first_byte_at - begin,
            )

    started = time.perf_counter()
    await asyncio.gather(*(work(connection) for _, connection in pairs))
    seconds = time.perf_counter() - started
    for transport, _ in pairs:
        transport.close()
    return Round(replies=[reply for reply in replies if reply is not None], seconds=seconds)


def send_at(
    port: int,
    requests: Sequence[bytes],
    at_s: Sequence[float],
    width: int = 256,
    *,
    must_succeed: bool = True,
) -> Round:
    """Send each request at its time, however many are under way: an open loop.

    Latencies count from the time a request was due, so that a client that falls behind shows.

    Args:
        at_s: seconds from the start, rising.
        width: connections; a request that finds none waits for one.
        must_succeed: whether every reply is to be 200.

    Raises:
        RuntimeError: for a reply that is not 200, or a closed connection.
    """
    sent = uvloop.run(_send_at(port, requests, at_s, width))
    for reply in sent.replies:
        if must_succeed and reply.status != 200:
            raise RuntimeError(f"port {port} answered {reply.raw[:2000]!r}")
    return sent


async def _send_at(
    port: int, requests: Sequence[bytes], at_s: Sequence[float], width: int
) -> Round:
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(width)
    started = time.perf_counter()

    async def send_when_due(request: bytes, due: float) -> Reply:
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        # A connection each: the server closes one that idles, just as it may be used again.
        async with free:
            transport, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
            try:
                raw = await connection.exchange(request)
            finally:
                transport.close()
        ended = time.perf_counter()
        first_s = connection.first_byte_at - started - due
        return Reply(raw=raw, seconds=ended - started - due, first_byte_s=first_s)

    pairs = zip(requests, at_s, strict=True)
    replies = await asyncio.gather(*(send_when_due(request, due) for request, due in pairs))
    seconds = time.perf_counter() - started
    return Round(replies=list(replies), seconds=seconds)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one exchange at a time."""

    def __init__(self) -> None:
        self.first_byte_at = 0.0  # of the body, on `time.perf_counter()`
        self._transport: Any = None
        self._buffer = bytearray()
        self._head: int | None = None  # its length, None until it is there
        self._length: int | None = None  # of the whole response
        self._is_chunked = False
        self._reply: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def exchange(self, request: bytes) -> bytes:
        self._buffer.clear()
        self._head, self._length, self._is_chunked = None, None, False
        self.first_byte_at = 0.0
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._head is None:
            self._read_head()
        if not self.first_byte_at and self._head is not None and len(self._buffer) > self._head:
            self.first_byte_at = time.perf_counter()
        if self._is_complete() and self._reply is not None and not self._reply.done():
            self._reply.set_result(bytes(self._buffer))

    def _read_head(self) -> None:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        self._head = end + len(_HEAD_END)
        for line in bytes(self._buffer[:end]).lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._length = self._head + int(value)
            elif name == b"transfer-encoding" and value.strip() == b"chunked":
                self._is_chunked = True

    def _is_complete(self) -> bool:
        if self._is_chunked:
            return self._buffer.endswith(_CHUNKS_END)
        return self._length is not None and len(self._buffer) >= self._length

    def connection_lost(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error or RuntimeError("the server closed the connection"))


def _chunks(body: bytes) -> Iterator[bytes]:
    """The contents of a body's chunks."""
    start = 0
    while True:
        line_end = body.index(b"\r\n", start)
        length = int(body[start:line_end], 16)
        if length == 0:
            return
        yield body[line_end + 2 : line_end + 2 + length]
        start = line_end + 2 + length + 2
