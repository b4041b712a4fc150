"""Every client sees an error as its own library raises it, with the true status."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.system.serving import Server

pytestmark = pytest.mark.sglang

TELL = [{"role": "user", "content": "rev abc"}]
DIRECT = {"x-cascadia-tier": "large", "x-cascadia-stream": "direct"}
STREAMS = (False, True)


@dataclass(frozen=True)
class Ask:
    """One request, as each client sends it."""

    server: Server
    is_stream: bool
    headers: dict[str, str]
    model: str = "cascadia"
    temperature: float = 0.0
    on_chunk: Callable[[], None] = lambda: None

    def take(self, answer: Any) -> None:
        """Read what the client gives to its end."""
        for _ in answer if self.is_stream else ():
            self.on_chunk()


@dataclass(frozen=True)
class Seen:
    """An error as a client raised it; the status is None where the headers were out."""

    status: int | None
    kind: str | None
    message: str
    retry_after: str | None


def seen_by_sdk(error: openai.APIError | anthropic.APIError) -> Seen:
    body: Any = error.body
    inner = body.get("error", body)
    is_late = not hasattr(error, "response") or error.response.status_code == 200
    if is_late:
        return Seen(None, inner["type"], inner["message"], None)
    headers = error.response.headers
    return Seen(error.status_code, inner["type"], inner["message"], headers.get("retry-after"))


def by_openai(send: Callable[[openai.OpenAI, Ask], Any]) -> Callable[[Ask], Seen]:
    def ask(ask: Ask) -> Seen:
        with openai.OpenAI(
            base_url=f"{ask.server.url}/v1",
            api_key="none",
            max_retries=0,
            timeout=30,
            http_client=openai.DefaultHttpxClient(verify=False),
        ) as client:
            try:
                ask.take(send(client, ask))
            except openai.APIError as error:
                return seen_by_sdk(error)
        raise AssertionError("no error")

    return ask


def chat(client: openai.OpenAI, ask: Ask) -> Any:
    return client.chat.completions.create(
        model=ask.model,
        messages=TELL,  # type: ignore[arg-type]
        max_tokens=1500,
        temperature=ask.temperature,
        stream=ask.is_stream,
        extra_headers=ask.headers,
    )


def completions(client: openai.OpenAI, ask: Ask) -> Any:
    return client.completions.create(
        model=ask.model,
        prompt="rev abc",
        max_tokens=1500,
        temperature=ask.temperature,
        stream=ask.is_stream,
        extra_headers=ask.headers,
    )


def responses(client: openai.OpenAI, ask: Ask) -> Any:
    answer = client.responses.create(
        model=ask.model,
        input="rev abc",
        max_output_tokens=1500,
        temperature=ask.temperature,
        stream=ask.is_stream,
        extra_headers=ask.headers,
    )
    return _raising(answer) if ask.is_stream else answer


def _raising(events: Any) -> Iterator[Any]:
    """The events; the one of a failure becomes the error that it tells."""
    for event in events:
        if event.type == "response.failed":
            error = {"type": event.response.error.code, "message": event.response.error.message}
            raise openai.APIError("failed", httpx.Request("POST", "/"), body=error)
        yield event


def messages(ask: Ask) -> Seen:
    with anthropic.Anthropic(
        base_url=ask.server.url,
        api_key="none",
        max_retries=0,
        timeout=30,
        http_client=anthropic.DefaultHttpxClient(verify=False),
    ) as client:
        try:
            ask.take(
                client.messages.create(  # type: ignore[call-overload]
                    model=ask.model,
                    messages=TELL,
                    max_tokens=1500,
                    extra_body={"temperature": ask.temperature},
                    stream=ask.is_stream,
                    extra_headers=ask.headers,
                )
            )
        except anthropic.APIStatusError as error:
            return seen_by_sdk(error)
    raise AssertionError("no error")


def by_ollama(name: str, question: dict[str, Any]) -> Callable[[Ask], Seen]:
    def ask(ask: Ask) -> Seen:
        client = ollama.Client(host=ask.server.url, headers=ask.headers, timeout=30, verify=False)
        options = {"num_predict": 1500, "temperature": ask.temperature}
        send = getattr(client, name)
        try:
            ask.take(send(model=ask.model, stream=ask.is_stream, options=options, **question))
        except ollama.ResponseError as error:
            status = None if error.status_code == -1 else error.status_code
            return Seen(status, None, error.error, None)
        raise AssertionError("no error")

    return ask


def native(ask: Ask) -> Seen:
    sampling = {"max_new_tokens": 1500, "temperature": ask.temperature}
    body = {"text": "rev abc", "sampling_params": sampling, "stream": ask.is_stream}
    with (
        ask.server.client(timeout=30) as client,
        client.stream("POST", "/generate", json=body, headers=ask.headers) as response,
    ):
        if response.status_code != 200:
            error = json.loads(response.read())["error"]
            retry_after = response.headers.get("retry-after")
            return Seen(response.status_code, None, error["message"], retry_after)
        for line in response.iter_lines():
            if line.startswith('data: {"error"'):
                error = json.loads(line.removeprefix("data: "))["error"]
                return Seen(None, error["type"], error["message"], None)
            if line.startswith("data: {"):
                ask.on_chunk()
    raise AssertionError("no error")


ROUTES: dict[str, Callable[[Ask], Seen]] = {
    "chat": by_openai(chat),
    "completions": by_openai(completions),
    "responses": by_openai(responses),
    "messages": messages,
    "ollama chat": by_ollama("chat", {"messages": TELL}),
    "ollama generate": by_ollama("generate", {"prompt": "rev abc"}),
    "native": native,
}
every_route = pytest.mark.parametrize("route", ROUTES)
streamed_and_not = pytest.mark.parametrize("is_stream", STREAMS, ids=["whole", "stream"])


@pytest.fixture
def server(breakable: Server) -> Server:
    return breakable


KINDS = {
    404: {"not_found_error", None},
    400: {"invalid_request_error", "BadRequestError", None},
    503: {"service_unavailable_error", "overloaded_error", "server_error", None},
    504: {"timeout_error", "server_error", None},
}


def check(seen: Seen, status: int, message: str, is_late: bool = False) -> None:
    assert message in seen.message
    assert seen.kind in KINDS[status]
    assert seen.status == (None if is_late else status)
    if status != 503:
        assert seen.retry_after is None


@every_route
@streamed_and_not
def test_an_unknown_model_is_a_404(server: Server, route: str, is_stream: bool) -> None:
    if route == "native":
        pytest.skip("its requests name no model")
    seen = ROUTES[route](Ask(server, is_stream, {}, model="unknown"))
    check(seen, 404, "'unknown'")


@every_route
@streamed_and_not
def test_a_value_out_of_range_is_a_400(server: Server, route: str, is_stream: bool) -> None:
    seen = ROUTES[route](Ask(server, is_stream, {}, temperature=-1.0))
    check(seen, 400, "temperature")


@every_route
@streamed_and_not
def test_a_deadline_before_the_first_byte_is_a_504(
    server: Server, route: str, is_stream: bool
) -> None:
    headers = {"x-cascadia-stream": "buffered", "x-cascadia-threshold": "1"}
    headers["x-cascadia-deadline-ms"] = "400"
    check(ROUTES[route](Ask(server, is_stream, headers)), 504, "deadline")


@every_route
def test_a_deadline_in_a_stream_ends_it_with_the_routes_error(server: Server, route: str) -> None:
    headers = DIRECT | {"x-cascadia-deadline-ms": "700"}
    chunks: list[None] = []
    seen = ROUTES[route](Ask(server, True, headers, on_chunk=lambda: chunks.append(None)))
    assert chunks
    check(seen, 504, "deadline", is_late=True)


def ask_all(asks: dict[tuple[str, bool], Ask]) -> Callable[[], dict[tuple[str, bool], Seen]]:
    """Send all of these at once, each by its route; what gives the errors that came of them."""
    seen: dict[tuple[str, bool], Seen] = {}

    def run(key: tuple[str, bool]) -> None:
        seen[key] = ROUTES[key[0]](asks[key])

    threads = [threading.Thread(target=run, args=(key,)) for key in asks]
    for thread in threads:
        thread.start()

    def land() -> dict[tuple[str, bool], Seen]:
        for thread in threads:
            thread.join(40)
        assert set(seen) == set(asks)
        return seen

    return land


def kill_large(server: Server) -> None:
    """End the one worker of the large tier from outside."""
    workers = server.status()["workers"]
    os.kill(next(w["pids"][0] for w in workers if w["tiers"] == ["large"]), signal.SIGKILL)


def ready_tiers(server: Server) -> list[str]:
    return [w["tiers"][0] for w in server.status()["workers"] if w["state"] == "ready"]


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stream_whose_worker_is_lost_ends_with_the_routes_error(server: Server) -> None:
    begun: set[str] = set()
    asks = {
        (route, True): Ask(server, True, DIRECT, on_chunk=lambda route=route: begun.add(route))
        for route in ROUTES
    }
    land = ask_all(asks)
    wait_until(lambda: begun == set(ROUTES))
    kill_large(server)
    for key, error in land().items():
        assert (error.status, error.kind in KINDS[503]) == (None, True), key
    wait_until_whole(server)


def test_a_tier_without_a_worker_is_a_503_that_says_when_to_come_again(server: Server) -> None:
    kill_large(server)
    wait_until(lambda: "large" not in ready_tiers(server))
    headers = {"x-cascadia-tier": "large"}
    asks = {
        (route, is_stream): Ask(server, is_stream, headers)
        for route in ROUTES
        for is_stream in STREAMS
    }
    for key, error in ask_all(asks)().items():
        assert (error.status, error.kind in KINDS[503]) == (503, True), key
        if not key[0].startswith("ollama"):  # its client shows no headers
            assert error.retry_after == "1", key
    wait_until_whole(server)


def wait_until_whole(server: Server) -> None:
    wait_until(lambda: sorted(ready_tiers(server)) == ["large", "small"], 60)


def test_what_ollama_does_not_serve_says_so(server: Server) -> None:
    client = ollama.Client(host=server.url)
    with pytest.raises(ollama.ResponseError, match="POST /api/embed is not served") as raised:
        client.embed(model="cascadia", input="abc")
    assert raised.value.status_code == 404
    with server.client() as http, contextlib.closing(http):
        misfit = http.post("/api/chat", json={"model": "cascadia", "messages": "hello"})
    assert misfit.status_code == 400
    assert "messages" in misfit.json()["error"]
