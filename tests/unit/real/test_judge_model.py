"""The judge model's score from the likeliest first tokens of its reply."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.real import judge_model
from bench.real.judge_model import Verdict, judge, key_of, probability_of_yes, verdicts
from bench.real.question_sets import question_set
from cascadia_sglang.calibration.record.records import RecordFile
from cascadia_sglang.errors import RefusedError

ASKED = question_set("short", 2)


def top(**probabilities: float) -> list[dict[str, object]]:
    return [{"token": token, "logprob": math.log(p)} for token, p in probabilities.items()]


def test_every_spelling_of_both_words_counts() -> None:
    logprobs = top(yes=0.2, Yes=0.4, no=0.1, other=0.3)
    logprobs.append({"token": " No", "logprob": math.log(0.05)})
    assert probability_of_yes(logprobs) == pytest.approx(0.6 / 0.75)


def test_without_either_word_nothing_is_known() -> None:
    assert probability_of_yes(top(maybe=1.0)) == 0.5
    assert probability_of_yes([]) == 0.5


class Connection:
    """Answers every request with one reply."""

    def __init__(self, content: list[dict[str, Any]], status: int = 200) -> None:
        self._reply = json.dumps({"choices": [{"logprobs": {"content": content}}]}).encode()
        self._status = status
        self.sent: list[dict[str, Any]] = []

    def request(self, _method: str, _path: str, body: str, _headers: dict[str, str]) -> None:
        self.sent.append(json.loads(body))

    def getresponse(self) -> SimpleNamespace:
        return SimpleNamespace(status=self._status, read=lambda: self._reply)


def test_the_judge_model_reads_question_and_answer_and_writes_one_token() -> None:
    connection: Any = Connection([{"top_logprobs": top(Yes=0.6, no=0.2)}])
    [verdict] = judge(connection, ASKED[0], "My answer.")
    assert verdict.yes == pytest.approx(0.75)
    assert verdict.key == key_of(ASKED[0], "My answer.")
    [sent] = connection.sent
    assert (sent["max_tokens"], sent["temperature"]) == (1, 0.0)
    content = sent["messages"][0]["content"]
    assert ASKED[0].messages[-1]["content"] in content
    assert "My answer." in content


@pytest.mark.parametrize(("content", "status"), [([], 200), ([], 400)], ids=["silent", "error"])
def test_a_judge_without_a_verdict_costs_no_other_answer(content: list[Any], status: int) -> None:
    connection: Any = Connection(content, status)
    with pytest.raises(RefusedError, match=ASKED[0].id):
        judge(connection, ASKED[0], "x")


def test_another_answer_needs_another_verdict() -> None:
    assert key_of(ASKED[0], "a") != key_of(ASKED[0], "b")
    assert key_of(ASKED[0], "a") != key_of(ASKED[1], "a")


def answers(*texts: str) -> Any:
    return {q.id: SimpleNamespace(text=text) for q, text in zip(ASKED, texts, strict=True)}


def test_verdicts_of_an_earlier_run_count_for_the_answers_they_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordFile(tmp_path / "verdicts.jsonl", Verdict) as file:
        for question, yes in zip(ASKED, (0.9, 0.2), strict=True):
            _, name, asked = key_of(question, "a")
            file.append(Verdict(id=name, asked=asked, yes=yes, seconds=0.1))
    found = verdicts("nowhere", ASKED, answers("a", "a"), tmp_path)
    assert [found[question.id].yes for question in ASKED] == [0.9, 0.2]

    def refuse(*_: object) -> Any:
        raise AssertionError("a server is started for the other answer")

    monkeypatch.setattr(judge_model, "recording_server", refuse)
    with pytest.raises(AssertionError, match="other answer"):
        verdicts("demo/models/small", ASKED, answers("a", "b"), tmp_path)
