"""`openai.completions`: a stream says what the whole answer says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai.types import Completion, CompletionUsage

from tests.system.client_tour.ways import Answers, Way

pytestmark = pytest.mark.sglang


@dataclass
class Text:
    """One choice: its text, its tokens where log-probabilities were asked for, and its end."""

    text: str = ""
    tokens: tuple[str, ...] = ()
    finish: str | None = None

    def add(self, choice: Any) -> None:
        assert self.finish is None, "nothing of a choice comes after its end"
        self.text += choice.text
        if choice.logprobs:
            self.tokens += tuple(choice.logprobs.tokens)
        self.finish = choice.finish_reason


Answer = tuple[list[Text], tuple[int, int]]


def joined(chunks: Iterable[Completion]) -> Answer:
    """All choices, and the prompt's and the answers' tokens; nothing may come after the usage."""
    texts: dict[int, Text] = {}
    usage: CompletionUsage | None = None
    for chunk in chunks:
        assert usage is None
        usage = chunk.usage
        for choice in chunk.choices:
            texts.setdefault(choice.index, Text()).add(choice)
    assert usage is not None
    return [texts[n] for n in sorted(texts)], (usage.prompt_tokens, usage.completion_tokens)


QUESTION: dict[str, Any] = {
    "model": "cascadia",
    "prompt": "rev abcd",
    "temperature": 0,
    "max_tokens": 16,
}
DCBA = ("d", "c", "b", "a", "<eos>")
CASES: dict[str, tuple[dict[str, Any], list[Text]]] = {
    "text": ({}, [Text("dcba", finish="stop")]),
    "two prompts": (
        {"prompt": ["rev abc", "sort cab"]},
        [Text("cba", finish="stop"), Text("abc", finish="stop")],
    ),
    "two choices": ({"n": 2}, [Text("dcba", finish="stop")] * 2),
    "stop string": ({"stop": "b"}, [Text("dc", finish="stop")]),
    "cut": ({"max_tokens": 3}, [Text("dcb", finish="length")]),
    "logprobs": ({"logprobs": 2}, [Text("dcba", DCBA, "stop")]),
}


@pytest.fixture(scope="module")
def answers(openai_client: openai.OpenAI) -> Answers[Any, Answer]:
    def ask(case: Any, way: Way) -> Answer:
        body: dict[str, Any] = {**QUESTION, **case[0], "extra_headers": way.headers}
        if way.mode is None:
            return joined([openai_client.completions.create(**body)])
        usage = {"include_usage": True}
        return joined(openai_client.completions.create(**body, stream=True, stream_options=usage))

    return Answers(CASES, ask)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_as_asked(answers: Answers[Any, Answer], name: str, tier: str) -> None:
    texts, (_, tokens) = answers.of(name, Way(None, tier))
    assert texts == CASES[name][1]
    if name == "logprobs":
        assert tokens == len(texts[0].tokens)


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_answer_says(
    answers: Answers[Any, Answer], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)


def test_usage_comes_only_when_asked_for(openai_client: openai.OpenAI, way: Way) -> None:
    body: dict[str, Any] = {**QUESTION, "extra_headers": way.headers}
    chunks = list(openai_client.completions.create(**body, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
