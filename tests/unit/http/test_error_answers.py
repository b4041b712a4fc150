"""What a client gets where a handler ends badly: the noted error, in the route's shape."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import httpx
import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.error_answers import ErrorAnswers
from cascadia_sglang.http.errors.shaped_handlers import shape_errors
from cascadia_sglang.http.trace import SCOPE_KEY, Trace, note_error, refusal
from cascadia_sglang.router.controls import Controls

LOST = RequestError(503, "tier small lost its worker")


async def serve(handler: Any, path: str = "/v1/chat/completions") -> httpx.Response:
    """The response of an application whose one route is this handler."""
    app = fastapi.FastAPI()
    app.add_api_route(path, handler, methods=["POST"])
    shape_errors(app)
    app.add_middleware(ErrorAnswers)

    async def traced(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[SCOPE_KEY] = Trace(Controls())
        await app(scope, receive, send)

    transport = httpx.ASGITransport(traced, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await client.post(path)


def stream(before: int) -> Callable[[fastapi.Request], StreamingResponse]:
    """A stream of a few chunks that then meets the error and writes one of its own."""

    def handler(request: fastapi.Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for number in range(before):
                yield b"data: %d\n\n" % number
            note_error(request, LOST)
            yield b'data: {"error": {"type": "BadRequestError", "code": 400}}\n\n'
            yield b"data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    return handler


async def test_an_answer_without_an_error_is_left_as_it_is() -> None:
    response = await serve(lambda: PlainTextResponse("hello", 200, {"x-own": "1"}))
    assert (response.status_code, response.text) == (200, "hello")
    assert response.headers["x-own"] == "1"
    json_answer = await serve(lambda: JSONResponse({"own": 1}, 503))
    assert (json_answer.status_code, json_answer.json(), json_answer.headers["retry-after"]) == (
        503,
        {"own": 1},
        "1",
    )
    assert (await serve(lambda: JSONResponse({}, 500))).headers["x-should-retry"] == "false"


async def test_a_handlers_own_words_give_way_to_the_noted_error() -> None:
    def handler(request: fastapi.Request) -> Any:
        note_error(request, LOST)
        note_error(request, RequestError(500, "what came of it"))
        return JSONResponse({"message": "bad request"}, 400)

    response = await serve(handler)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["type"] == "service_unavailable_error"
    assert response.json()["message"] == str(LOST)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/generate"])
async def test_a_stream_that_fails_before_its_first_byte_has_the_status(path: str) -> None:
    response = await serve(stream(0), path)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert str(LOST) in response.text


async def test_a_stream_that_is_cut_ends_with_the_routes_error() -> None:
    response = await serve(stream(2))
    assert response.status_code == 200
    first, second, error, done, rest = response.text.split("\n\n")
    assert (first, second, done, rest) == ("data: 0", "data: 1", "data: [DONE]", "")
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 503
    ollama = await serve(stream(1), "/api/chat")
    assert json.loads(ollama.text.splitlines()[-1]) == {"error": str(LOST)}
    anthropic = await serve(stream(1), "/v1/messages")
    assert anthropic.text.split("\n\n")[1].startswith("event: error\ndata: {")


async def test_responses_end_a_begun_stream_with_their_own_event() -> None:
    response = await serve(stream(1), "/v1/responses")
    assert response.text.endswith("data: [DONE]\n\n")
    refused = await serve(stream(0), "/v1/responses")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, 503)


async def test_an_exception_that_nobody_foresaw_is_a_500_without_its_words() -> None:
    def handler() -> Any:
        raise KeyError("a secret")

    def begun() -> Any:
        async def chunks() -> AsyncIterator[bytes]:
            yield b'{"done": false}\n'
            raise KeyError("a secret")

        return StreamingResponse(chunks())

    response = await serve(handler, "/api/chat")
    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})
    cut = await serve(begun, "/api/chat")
    assert cut.text == '{"done": false}\n{"error": "Internal server error"}\n'


async def test_what_no_handler_sees_has_the_shape_of_ollama_below_its_prefix() -> None:
    def handler(number: int) -> int:
        return number

    misfit = await serve(handler, "/api/chat")
    assert (misfit.status_code, misfit.json()) == (400, {"error": "query.number: Field required"})
    json_answer = await serve(handler)
    assert "detail" in json_answer.json()

    def refuse(request: fastapi.Request) -> Any:
        raise refusal(request, RequestError(404, "model 'x' does not exist"))

    unknown = await serve(refuse, "/api/chat")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "model 'x' does not exist"})
    missing = await serve(lambda: JSONResponse({}, 404), "/api/chat")
    assert missing.json() == {}
