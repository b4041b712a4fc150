"""How the soak reads answers: one that ended well is told from one that did not."""

import json
from typing import Any

import pytest

from bench.soak.answers import (
    ABORTED,
    CUT,
    ENDED,
    BrokenAnswerError,
    Choice,
    StreamEndedError,
    error_status,
    read_stream,
    read_whole,
)


def output(text: str, finish: str | None = None, tier: str | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"finish_reason": {"type": finish} if finish else None}
    return {"text": text, "meta_info": meta | ({"cascadia": {"tier": tier}} if tier else {})}


def chunk(text: str, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


def sse(*events: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


ERROR = {"error": {"message": "the answer is incomplete", "code": 503}}
LAST = output("ab", "stop", "small")
MESSAGE = (
    {"type": "message_start"},
    {"type": "ping"},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    {"type": "message_stop"},
)
RESPONSE = (
    {"type": "response.created"},
    {"type": "response.output_text.delta", "delta": "ab"},
    {"type": "response.incomplete", "response": {}},
)
FAILED = {
    "type": "response.failed",
    "response": {"error": {"code": "server_error", "message": "503: no tier"}},
}
CALL = {"tool_calls": [{"function": {"arguments": '{"city": '}}]}


@pytest.mark.parametrize(
    ("route", "content", "choices"),
    [
        ("/generate", sse(output("a"), LAST), [Choice("ab", ENDED, "small")]),
        ("/generate", b": keep-alive\n\n" + sse(output("", "abort")), [Choice("", ABORTED)]),
        (
            "/v1/chat/completions",
            sse(chunk("a"), chunk("b"), chunk("x", "length", 1), chunk("", "stop")),
            [Choice("ab", ENDED), Choice("x", CUT)],
        ),
        (
            "/invocations",
            sse({"choices": [{"index": 0, "delta": CALL, "finish_reason": "tool_calls"}]}),
            [Choice('{"city": ', ENDED)],
        ),
        (
            "/v1/completions",
            sse({"choices": [{"index": 0, "text": "ab", "finish_reason": "length"}]}),
            [Choice("ab", CUT)],
        ),
        ("/v1/messages", sse(*MESSAGE, done=False), [Choice("ab", ENDED)]),
        ("/v1/responses", sse(*RESPONSE, done=False), [Choice("ab", CUT)]),
        (
            "/api/chat",
            b'{"message": {"content": "ab"}, "done": false}\n'
            b'{"message": {"content": ""}, "done": true, "done_reason": "stop"}\n',
            [Choice("ab", ENDED)],
        ),
        (
            "/api/generate",
            b'{"response": "ab", "done": true, "done_reason": "length"}\n',
            [Choice("ab", CUT)],
        ),
    ],
)
def test_the_stream_of_a_route_is_read(route: str, content: bytes, choices: list[Choice]) -> None:
    assert read_stream(route, content) == choices


@pytest.mark.parametrize(
    ("route", "content", "why"),
    [
        ("/generate", sse(output("a")), "no end"),
        ("/generate", sse(LAST, done=False), "no end"),
        ("/generate", b"", "no end"),
        ("/generate", sse(LAST, LAST), "ended twice"),
        ("/generate", sse(ERROR, LAST), "after the error"),
        ("/generate", sse(output("x"), LAST), "became"),
        ("/generate", sse({"text": "x"}), "KeyError"),
        ("/v1/chat/completions", sse(chunk("a", "stop"), chunk("b")), "text after the end"),
        ("/v1/chat/completions", sse(chunk("a", "stop"), chunk("b", None, 1)), "no end"),
        ("/v1/messages", sse(*MESSAGE[:-1], done=False), "no end"),
        ("/v1/messages", sse(*MESSAGE[:-2], done=False), "no end"),
        ("/v1/responses", sse(*RESPONSE[:-1], done=False), "no end"),
        ("/api/chat", b'{"message": {"content": "ab"}, "done": false}\n', "no end"),
    ],
)
def test_a_stream_that_ends_otherwise_than_once_is_broken(
    route: str, content: bytes, why: str
) -> None:
    with pytest.raises(BrokenAnswerError, match=why):
        read_stream(route, content)


@pytest.mark.parametrize(
    ("route", "content", "status"),
    [
        ("/generate", sse(output("a"), ERROR), 503),
        ("/v1/chat/completions", sse(chunk("a"), ERROR), 503),
        (
            "/v1/messages",
            sse({"type": "error", "error": {"type": "timeout_error", "message": "x"}}, done=False),
            504,
        ),
        (
            "/v1/responses",
            sse({"type": "error", "error": {"message": "x", "code": 504}}, done=False),
            504,
        ),
        ("/v1/responses", sse(FAILED, done=False), 503),
        ("/api/generate", b'{"error": "x"}\n', 0),
    ],
)
def test_a_stream_may_end_in_one_error(route: str, content: bytes, status: int) -> None:
    with pytest.raises(StreamEndedError) as ended:
        read_stream(route, content)
    assert ended.value.status == status


@pytest.mark.parametrize(
    ("route", "reply", "choices"),
    [
        ("/generate", LAST, [Choice("ab", ENDED, "small")]),
        (
            "/generate",
            [LAST, output("a", "length")],
            [Choice("ab", ENDED, "small"), Choice("a", CUT)],
        ),
        ("/vertex_generate", {"predictions": [LAST]}, [Choice("ab", ENDED, "small")]),
        (
            "/v1/chat/completions",
            {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]},
            [Choice("ab", ENDED)],
        ),
        (
            "/v1/messages",
            {"content": [{"type": "tool_use", "input": {"a": 1}}], "stop_reason": "tool_use"},
            [Choice('{"a": 1}', ENDED)],
        ),
        (
            "/v1/responses",
            {
                "output": [{"type": "message", "content": [{"text": "ab"}]}],
                "status": "incomplete",
            },
            [Choice("ab", CUT)],
        ),
        ("/api/generate", {"response": "ab", "done_reason": "stop"}, [Choice("ab", ENDED)]),
    ],
)
def test_the_whole_answer_of_a_route_is_read(route: str, reply: Any, choices: list[Choice]) -> None:
    assert read_whole(route, json.dumps(reply).encode()) == choices


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"text": "a"}', b"Internal Server Error"])
def test_what_no_client_can_read_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        read_whole("/v1/completions", content)
    with pytest.raises(BrokenAnswerError, match="without a reason"):
        error_status(500, content)


@pytest.mark.parametrize("content", [b'{"error": {"message": "x"}}', b'{"message": "x"}'])
def test_an_error_says_why(content: bytes) -> None:
    assert error_status(503, content) == 503
