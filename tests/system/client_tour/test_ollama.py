"""`ollama`: a stream's frames say what the whole answer says."""

from dataclasses import dataclass
from typing import Any

import httpx
import ollama
import pytest

from tests.system.client_tour.conftest import TouredServer
from tests.system.client_tour.ways import Answers, Way

pytestmark = pytest.mark.sglang

MODEL = "cascadia:latest"
MESSAGES = [{"role": "user", "content": "rev abcd"}]


@dataclass(frozen=True)
class Said:
    """An answer: its text and thought, why it ended, the prompt's and the answer's tokens."""

    text: str
    thinking: str
    done_reason: str | None
    prompt: int | None
    tokens: int | None


def joined(frames: list[Any]) -> Said:
    """The frames' texts together; the last one alone says that it is done, and why."""
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    text = thinking = ""
    for frame in frames:
        of_chat = getattr(frame, "message", None)
        text += (of_chat.content if of_chat else frame.response) or ""
        thinking += (of_chat or frame).thinking or ""
    last = frames[-1]
    return Said(text, thinking, last.done_reason, last.prompt_eval_count, last.eval_count)


@dataclass(frozen=True)
class Case:
    """A request to one of the two routes, and its answer."""

    route: str
    options: dict[str, Any]
    answer: Said
    think: bool = False


GREEDY: dict[str, Any] = {"temperature": 0}
ROUTES = ("chat", "generate")
CASES = {
    f"{route}, {name}": Case(route, {**GREEDY, **options}, Said(answer[0], "", *answer[1:]))
    for route in ROUTES
    for name, options, answer in [
        ("no limit given", {}, ("dcba", "stop", 9, 5)),
        ("a limit above the answer", {"num_predict": 8}, ("dcba", "stop", 9, 5)),
        ("cut", {"num_predict": 3}, ("dcb", "length", 9, 3)),
        ("without a limit", {"num_predict": -1}, ("dcba", "stop", 9, 5)),
        ("up to the context", {"num_predict": -2}, ("dcba", "stop", 9, 5)),
        ("seed", {"seed": 7, "num_predict": 8}, ("dcba", "stop", 9, 5)),
        ("every token", {"top_k": 0, "num_predict": 8}, ("dcba", "stop", 9, 5)),
        ("stop string", {"stop": ["b"], "num_predict": 8}, ("dc", "stop", 9, 3)),
    ]
}
# The models end no thought: where they think, all that they say is one.
CASES["chat, an endless thought"] = Case("chat", GREEDY, Said("", "dcba", "stop", 9, 5), think=True)


@pytest.fixture(scope="module")
def answers(toured: TouredServer) -> Answers[Case, Said]:
    def ask(case: Case, way: Way) -> Said:
        client = ollama.Client(
            host=toured.server.url, headers=way.headers, timeout=60, verify=False
        )
        body: dict[str, Any] = {"model": MODEL, "options": case.options, "think": case.think}
        is_chat = case.route == "chat"
        send = client.chat if is_chat else client.generate
        body |= {"messages": MESSAGES} if is_chat else {"prompt": "rev abcd"}
        if way.mode is None:
            return joined([send(**body)])
        return joined(list(send(**body, stream=True)))

    return Answers(CASES, ask)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_as_asked(answers: Answers[Case, Said], name: str, tier: str) -> None:
    assert answers.of(name, Way(None, tier)) == CASES[name].answer


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_answer_says(
    answers: Answers[Case, Said], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_an_answer_is_streamed_unless_asked_otherwise(
    http: httpx.Client, path: str, way: Way
) -> None:
    body: dict[str, Any] = {"model": MODEL, "options": GREEDY}
    body |= {"messages": MESSAGES} if path == "/api/chat" else {"prompt": "rev abcd"}
    reply = http.post(path, json=body, headers=way.headers)
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert len(reply.text.splitlines()) > 1


def test_the_models_are_listed_and_shown(toured: TouredServer) -> None:
    client = ollama.Client(host=toured.server.url)
    names = [model.model for model in client.list().models]
    assert {"cascadia", "small", "large"} <= {(name or "").split(":")[0] for name in names}
    assert "completion" in (client.show("cascadia").capabilities or [])


def test_an_unknown_model_is_an_error_of_the_client(toured: TouredServer) -> None:
    client = ollama.Client(host=toured.server.url)
    with pytest.raises(ollama.ResponseError, match="huge") as refused:
        client.chat(model="huge", messages=MESSAGES)
    assert refused.value.status_code == 404
