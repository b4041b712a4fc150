"""Signs of life while a streamed answer is held back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.error_answers import ErrorAnswers
from cascadia_sglang.http.keep_alive import KeepAlive
from cascadia_sglang.http.middleware import CascadeMiddleware
from cascadia_sglang.http.trace import SCOPE_KEY, Trace
from cascadia_sglang.router.controls import Controls
from cascadia_sglang.testing.engine import make_cascade
from cascadia_sglang.testing.time import run_in_virtual_time

CHAT = "/v1/chat/completions"
STREAMS = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/invocations")
LINES = ("/api/chat", "/api/generate")
COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class Client:
    """What reached the client, and when."""

    messages: list[tuple[float, Message]] = field(default_factory=list)
    reads: Callable[[], Awaitable[None]] | None = None

    async def receive(self, message: Message) -> None:
        if self.reads is not None:
            await self.reads()
        self.messages.append((asyncio.get_running_loop().time(), message))

    @property
    def status(self) -> int:
        return self.messages[0][1]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.messages[0][1]["headers"]}

    @property
    def bodies(self) -> list[bytes]:
        return [m["body"] for _, m in self.messages if m["type"] == "http.response.body"]

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.messages]

    def check(self) -> None:
        """One start, first; then bodies, of which the last one alone ends the response."""
        kinds = [message["type"] for _, message in self.messages]
        assert kinds == ["http.response.start", *["http.response.body"] * (len(kinds) - 1)]
        more = [message.get("more_body", False) for _, message in self.messages[1:]]
        assert more == [True] * (len(more) - 1) + [False]


class Handler:
    """One of SGLang's handlers, as the cascade sees it from its streamed request on."""

    def __init__(self, scope: Any, send: Any) -> None:
        self.trace: Trace = scope[SCOPE_KEY]
        self._send = send

    def begin(self) -> None:
        self.trace.model = "cascadia"
        if self.trace.on_stream is not None:
            self.trace.on_stream()

    def answered(self) -> None:
        summary = self.trace.summary
        summary.tier_index, summary.score, summary.reason = 1, 0.75, "accepted"
        summary.calibrated = False
        summary.attempts, summary.tokens = 2, 30

    async def start(self, status: int = 200, kind: str = "text/event-stream") -> None:
        headers = [(b"content-type", kind.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, body: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


Handle = Callable[[Handler], Awaitable[None]]


def ask(
    handle: Handle,
    path: str = CHAT,
    interval_s: float = 5.0,
    client: Client | None = None,
    **headers: str,
) -> Client:
    """Send a request through the middleware of the server, in virtual time."""
    client = client or Client()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await handle(Handler(scope, send))

    stack = KeepAlive(app, ["small", "large"], interval_s)
    whole = CascadeMiddleware(
        ErrorAnswers(stack),
        make_cascade("small", "large"),
        "cascadia",
        lambda: None,
        lambda *_: None,
    )
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "path": path, "headers": named}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}"}

    run_in_virtual_time(whole(scope, receive, client.receive))
    return client


def held(seconds: float, *events: bytes, begins: bool = True, starts: bool = False) -> Handle:
    """A handler whose answer is there after some time.

    Args:
        begins: whether the request is streamed.
        starts: whether it starts the response before it has the answer.
    """

    async def handle(handler: Handler) -> None:
        if begins:
            handler.begin()
        if starts:
            await handler.start()
        await asyncio.sleep(seconds)
        handler.answered()
        if not starts:
            await handler.start()
        for event in events:
            await handler.body(event)
        await handler.body(b"", more=False)

    return handle


def test_an_answer_that_leaves_sooner_leaves_as_ever() -> None:
    got = ask(held(4.9, b"data: {}\n\n", DONE))
    got.check()
    assert got.bodies == [b"data: {}\n\n", DONE, b""]
    assert got.headers == {
        "content-type": "text/event-stream",
        "x-cascadia-attempts": "2",
        "x-cascadia-total-tokens": "30",
        "x-cascadia-tier": "large",
        "x-cascadia-score": "0.750000",
        "x-cascadia-calibrated": "false",
        "x-cascadia-reason": "accepted",
    }


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("path", STREAMS)
def test_a_held_stream_gives_signs_of_life_in_the_form_of_its_route(
    path: str, starts: bool
) -> None:
    got = ask(held(12.0, b"data: {}\n\n", starts=starts), path)
    got.check()
    assert got.bodies == [COMMENT, COMMENT, b"data: {}\n\n", b""]
    assert got.times == [5.0, 5.0, 10.0, 12.0, 12.0]
    assert got.status == 200
    assert got.headers["content-type"].startswith("text/event-stream")
    assert "x-cascadia-attempts" not in got.headers


def test_no_ping_comes_before_the_first_event_of_a_message() -> None:
    """Anthropic's streams begin with `message_start`; from then on a silence is a ping."""
    start, delta = b"event: message_start\ndata: {}\n\n", b"event: content_block_delta\n\n"

    async def handle(handler: Handler) -> None:
        handler.begin()
        await asyncio.sleep(6.0)
        handler.answered()
        await handler.start()
        await handler.body(start)
        await asyncio.sleep(6.0)
        await handler.body(delta, more=False)

    got = ask(handle, "/v1/messages")
    got.check()
    assert got.bodies == [COMMENT, start, PING, delta]


@pytest.mark.parametrize("path", LINES)
def test_ollamas_lines_have_an_empty_frame(path: str) -> None:
    got = ask(held(6.0, b'{"done": true}\n'), path)
    got.check()
    assert got.headers["content-type"] == "application/x-ndjson"
    frame = json.loads(got.bodies[0])
    assert got.bodies[0].endswith(b"}\n")
    assert (frame["model"], frame["done"]) == ("cascadia", False)
    text = frame["message"]["content"] if path == "/api/chat" else frame["response"]
    assert text == ""
    assert got.bodies[1:] == [b'{"done": true}\n', b""]


def test_the_native_route_is_silent_unless_asked() -> None:
    assert ask(held(60.0, DONE), "/generate").times == [60.0] * 3
    stream = ask(held(7.0, DONE), "/generate", x_cascadia_keep_alive="3")
    assert stream.bodies[:2] == [COMMENT, COMMENT]


@pytest.mark.parametrize(
    ("interval_s", "headers"), [(0.0, {}), (5.0, {"x_cascadia_keep_alive": "0"})]
)
def test_zero_is_never(interval_s: float, headers: dict[str, str]) -> None:
    got = ask(held(60.0, DONE), interval_s=interval_s, **headers)
    assert got.times == [60.0] * 3
    assert got.headers["x-cascadia-tier"] == "large"


def test_what_is_not_streamed_stays_whole() -> None:
    got = ask(held(60.0, b"{}", begins=False))
    assert got.times == [60.0] * 3


@pytest.mark.parametrize(
    ("path", "last"),
    [
        (CHAT, DONE),
        ("/v1/messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
        ("/v1/responses", b"event: response.completed\ndata: {}\n\n"),
        ("/v1/responses", b"event: response.incomplete\ndata: {}\n\n"),
    ],
)
def test_what_is_known_late_stands_before_the_end(path: str, last: bytes) -> None:
    got = ask(held(6.0, b"data: {}\n\n", last), path)
    late = got.bodies[2].removesuffix(last)
    assert late.startswith(b": ")
    assert late.endswith(b"\n\n")
    assert late.count(b"\n") == 2
    assert json.loads(late.removeprefix(b": ")) == {
        "cascadia": {
            "tier": "large",
            "score": 0.75,
            "calibrated": False,
            "attempts": 2,
            "reason": "accepted",
            "total_tokens": 30,
        }
    }


def test_the_usage_that_was_asked_for_says_it_too() -> None:
    usage = b'data: {"id":"1","choices":[],"usage":{"total_tokens":3}}\n\n'
    running = b'data: {"id":"1","choices":[{}],"usage":{"total_tokens":3}}\n\n'
    got = ask(held(6.0, running, usage, DONE))
    assert got.bodies[1] == running
    usage_event = json.loads(got.bodies[2].removeprefix(b"data: "))
    assert usage_event["usage"]["total_tokens"] == 3
    assert usage_event["usage"]["cascadia"]["tier"] == "large"
    assert ask(held(1.0, usage, DONE)).bodies == [usage, DONE, b""]


def test_a_tier_that_is_asked_for_by_name_is_known_from_the_start() -> None:
    got = ask(held(6.0, DONE), x_cascadia_tier="large")
    assert got.headers["x-cascadia-tier"] == "large"


def test_a_refusal_before_the_stream_begins_keeps_its_status() -> None:
    async def handle(handler: Handler) -> None:
        await asyncio.sleep(30)
        await handler.start(400, "application/json")
        await handler.body(b'{"message": "no"}', more=False)

    assert ask(handle).status == 400


def refused(status: int, body: bytes, error: RequestError | None = None) -> Handle:
    async def handle(handler: Handler) -> None:
        handler.begin()
        await asyncio.sleep(6)
        handler.trace.error = error
        await handler.start(status, "application/json")
        await handler.body(body[:5])
        await handler.body(body[5:], more=False)

    return handle


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
@pytest.mark.parametrize("is_noted", [False, True])
def test_an_error_after_the_headers_is_the_routes_error_event(path: str, is_noted: bool) -> None:
    error = RequestError(503, "no tier is available") if is_noted else None
    body = b'{"object": "error", "message": "no tier is available", "code": 503}'
    got = ask(refused(503, body, error), path)
    got.check()
    assert got.status == 200
    event = json.loads(got.bodies[-1].split(b"data: ")[1].split(b"\n\n")[0])
    assert event["error"]["type"] == "service_unavailable_error"
    assert event["error"]["code"] == 503
    assert event["error"]["message"] == "no tier is available"
    assert got.bodies[-1].endswith(DONE) == (path == CHAT)


def test_an_error_of_a_messages_stream_is_anthropics() -> None:
    got = ask(refused(503, b'{"error": {"message": "busy"}}'), "/v1/messages")
    assert got.bodies[-1].startswith(b"event: error\n")
    assert json.loads(got.bodies[-1].partition(b"data: ")[2])["error"] == {
        "type": "overloaded_error",
        "message": "busy",
    }


def test_a_handler_that_raises_ends_the_stream_with_an_error() -> None:
    async def handle(handler: Handler) -> None:
        handler.begin()
        await asyncio.sleep(6)
        raise KeyError("x")

    client = Client()
    with pytest.raises(KeyError):
        ask(handle, client=client)
    client.check()
    assert b'"code": 500' in client.bodies[-1]


def test_silence_between_two_events_is_filled_too() -> None:
    async def handle(handler: Handler) -> None:
        handler.begin()
        handler.answered()
        await handler.start()
        await handler.body(b"data: 1\n\n")
        await asyncio.sleep(4)
        await handler.body(b"data: 2\n\n")
        await asyncio.sleep(6)
        await handler.body(DONE, more=False)

    got = ask(handle)
    got.check()
    assert got.times == [0.0, 0.0, 4.0, 9.0, 10.0]
    assert got.bodies == [b"data: 1\n\n", b"data: 2\n\n", COMMENT, DONE]
    assert got.headers["x-cascadia-tier"] == "large"


@pytest.mark.parametrize("write_s", [0.0, 0.5, 7.0])
@pytest.mark.parametrize("at_s", [4.9, 5.0, 5.1, 10.0])
def test_signs_and_answer_never_mix(at_s: float, write_s: float) -> None:
    """Whatever a write takes, and whenever the answer comes."""

    async def read_slowly() -> None:
        await asyncio.sleep(write_s)

    events = [b"data: %d\n\n" % number for number in range(4)]
    got = ask(held(at_s, *events, DONE), client=Client(reads=read_slowly))
    got.check()
    signs = [body for body in got.bodies if body == COMMENT]
    assert [body for body in got.bodies if body != COMMENT][:4] == events
    assert len(signs) <= 1 + got.times[-1] / 5.0


def test_a_client_that_reads_nothing_is_sent_no_second_sign() -> None:
    stuck = asyncio.Event()

    async def read_once() -> None:
        if client.messages:
            await stuck.wait()

    client = Client(reads=read_once)

    async def handle(handler: Handler) -> None:
        handler.begin()
        await asyncio.sleep(60)

    ask(handle, client=client)
    assert len(client.messages) == 1  # the start; the first sign is still being written


def test_a_cancelled_request_sends_nothing_more() -> None:
    client = Client()

    async def handle(handler: Handler) -> None:
        handler.begin()
        await asyncio.sleep(6)
        raise asyncio.CancelledError

    async def nothing_left() -> None:
        with pytest.raises(asyncio.CancelledError):
            await stack({"type": "http", "path": CHAT, SCOPE_KEY: trace}, None, client.receive)
        await asyncio.sleep(60)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await handle(Handler(scope, send))

    trace = Trace(Controls())
    stack = KeepAlive(app, ["small"], 5.0)
    run_in_virtual_time(nothing_left())
    assert client.times == [5.0, 5.0]
