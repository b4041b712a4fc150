"""The limits on headers and bodies."""

from typing import Any

import fastapi
import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.size_limits import MOST_HEADER_BYTES, limited_body


def receive_of(*parts: bytes) -> Any:
    messages = [
        {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
        for number, part in enumerate(parts)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    return receive


def scope(path: str, length: int | None) -> dict[str, Any]:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return {"path": path, "headers": headers}


async def read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


@pytest.mark.parametrize("path", ["/generate", "/v1/messages", "/api/chat", "/v1/score"])
async def test_a_body_within_the_limit_arrives_whole(path: str) -> None:
    limited = limited_body(scope(path, 6), receive_of(b"abc", b"def"), 6)
    assert await read(limited) == b"abcdef"


@pytest.mark.parametrize("path", ["/generate", "/v1/messages", "/api/chat", "/v1/score"])
def test_a_length_above_the_limit_is_refused_before_the_body_is_read(path: str) -> None:
    with pytest.raises(RequestError, match="at most 5 bytes, got 6") as refused:
        limited_body(scope(path, 6), receive_of(), 5)
    assert refused.value.status == 413


async def test_a_body_that_does_not_say_its_length_is_refused_where_it_grows_too_long() -> None:
    limited = limited_body(scope("/generate", None), receive_of(b"abc", b"def", b"ghi"), 5)
    assert (await limited())["body"] == b"abc"
    with pytest.raises(fastapi.HTTPException) as refused:
        await limited()
    assert refused.value.status_code == 413


@pytest.mark.parametrize("path", ["/generate", "/cascadia/status"])
def test_headers_above_their_limit_are_refused_everywhere(path: str) -> None:
    def ask(header_bytes: int) -> None:
        headers = [(b"x-a", b"a" * (header_bytes - 3))]
        limited_body({"path": path, "headers": headers}, receive_of(), 5)

    ask(MOST_HEADER_BYTES)
    with pytest.raises(RequestError, match="at most 16384 bytes, got 16385") as refused:
        ask(MOST_HEADER_BYTES + 1)
    assert refused.value.status == 431


async def test_control_calls_may_carry_weights() -> None:
    path = "/update_weights_from_tensor"
    assert await read(limited_body(scope(path, 6), receive_of(b"abcdef"), 5)) == b"abcdef"
