"""SGLang's own route, `/generate`: a stream says what the whole answer says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.client_tour.conftest import TouredServer
from tests.system.client_tour.ways import Answers, Way

pytestmark = pytest.mark.sglang

# By choice: text, token ids, why it ended, the tier, and how many log-probabilities there are.
Answer = dict[int, tuple[str, list[int], str, str, int]]


def answer_of(text: str, ids: list[int], meta: dict[str, Any], logprobs: int) -> Any:
    return text, ids, meta["finish_reason"]["type"], meta["cascadia"]["tier"], logprobs


def whole(reply: Any) -> Answer:
    return {
        index: answer_of(
            output["text"],
            output["output_ids"],
            output["meta_info"],
            len(output["meta_info"].get("output_token_logprobs") or []),
        )
        for index, output in enumerate(reply if isinstance(reply, list) else [reply])
    }


def joined(lines: list[str], is_incremental: bool) -> Answer:
    """Each output repeats the ones before it, or continues them."""
    texts: dict[int, str] = {}
    ids: dict[int, list[int]] = {}
    logprobs: dict[int, int] = {}
    answer: Answer = {}
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        output = json.loads(line.removeprefix("data: "))
        index, meta = output.get("index", 0), output["meta_info"]
        assert index not in answer, "nothing comes after the end"
        before = is_incremental and index in texts
        count = len(meta.get("output_token_logprobs") or [])
        texts[index] = (texts[index] if before else "") + output["text"]
        ids[index] = (ids[index] if before else []) + output["output_ids"]
        logprobs[index] = (logprobs[index] if before else 0) + count
        if meta["finish_reason"] is not None:
            answer[index] = answer_of(texts[index], ids[index], meta, logprobs[index])
    return answer


GREEDY = {"temperature": 0, "max_new_tokens": 16}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "text": ({}, ["dcba"]),
    "cut": ({"sampling_params": {**GREEDY, "max_new_tokens": 3}}, ["dcb"]),
    "stop string": ({"sampling_params": {**GREEDY, "stop": "b"}}, ["dc"]),
    "logprobs": ({"return_logprob": True}, ["dcba"]),
    "two choices": ({"sampling_params": {**GREEDY, "n": 2}}, ["dcba", "dcba"]),
    "token by token": ({"sampling_params": {**GREEDY, "stream_interval": 1}}, ["dcba"]),
    "four tokens at a time": ({"sampling_params": {**GREEDY, "stream_interval": 4}}, ["dcba"]),
    "two prompts": ({"text": ["rev abcd", "rev abc"]}, ["dcba", "cba"]),
}


@pytest.fixture(scope="module")
def answers(toured: TouredServer) -> Iterator[Answers[Any, Answer]]:
    def ask(case: Any, way: Way) -> Answer:
        body = {"text": "rev abcd", "sampling_params": GREEDY, **case[0]}
        body["stream"] = way.mode is not None
        reply = client.post("/generate", json=body, headers=way.headers)
        if way.mode is None:
            return whole(reply.json())
        lines = [line for line in reply.text.splitlines() if line and not line.startswith(": ")]
        return joined(lines, toured.is_incremental)

    with toured.server.client() as client:
        yield Answers(CASES, ask)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_as_asked(answers: Answers[Any, Answer], name: str, tier: str) -> None:
    answer = answers.of(name, Way(None, tier))
    assert [text for text, *_ in answer.values()] == CASES[name][1]
    assert {choice[3] for choice in answer.values()} == {tier}
    if name == "logprobs":
        assert answer[0][4] == len(answer[0][1]) == 5


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_whole_answer_says(
    answers: Answers[Any, Answer], name: str, way: Way
) -> None:
    assert answers.of(name, way) == answers.of(name, way.whole)
