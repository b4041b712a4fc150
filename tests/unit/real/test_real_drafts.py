"""The bench of drafts on real models: which answers take part, and how its rounds are counted."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from bench.harness.ranks import ranks
from bench.harness.rows import Facts
from bench.real import drafts
from bench.real.answers import VALUES, StoredAnswer
from bench.real.drafts import (
    ANEW,
    ARMS,
    CELLS,
    FOUND,
    PREFIX,
    ArmRound,
    DraftedQuestion,
    measure,
    rows_of,
    weakest,
)

ROUND = ArmRound(
    seconds=10.0, tokens=(50, 150), kept_tokens=(0, 0), tokens_per_step=1.0, texts=("a", "b")
)
FACTS = Facts(
    machine="m", commit="c", dirty=False, torch="1", sglang="1", date_utc="now", command="x"
)


def stored(number: int, logprob: float, model: str = "small", name: str = "free") -> StoredAnswer:
    row = {"logprob": logprob, "entropy": -logprob, "margin": 1.0, "self_certainty": 5.0}
    return StoredAnswer(
        id=f"{name}-{number:04d}",
        model=model,
        temperature=0.0,
        right=None,
        text_key="",
        output_ids=[1, 2, 3],
        values=[[row[value] for value in VALUES]] * 3,
        prompt_tokens=10,
        is_truncated=False,
        seconds=1.0,
    )


def test_the_answers_that_the_rank_puts_last_take_part() -> None:
    answers = [stored(number, -0.1 * (number % 7)) for number in range(14)]
    others = [stored(90, -9.0, model="large"), stored(91, -9.0, name="short")]
    chosen = weakest([*others, *answers], "free", "small", 4)
    ranks_N = ranks(np.array([answer.features() for answer in answers]))
    assert {answer.id for answer in chosen} == {answers[i].id for i in np.argsort(ranks_N)[:4]}
    assert {int(answer.id[-4:]) % 7 for answer in chosen} == {5, 6}
    with pytest.raises(SystemExit, match="14 answers of small to free are recorded, 15 needed"):
        weakest(answers, "free", "small", 15)


def test_steps_are_those_of_decoding() -> None:
    assert ROUND.steps_per_token == 1.0
    read = dataclasses.replace(ROUND, kept_tokens=(50, 50))
    assert read.steps_per_token == pytest.approx(0.5)
    # Of a speculative step the kept tokens are among those that it gave.
    followed = dataclasses.replace(ROUND, kept_tokens=(40, 100), tokens_per_step=4.0)
    assert followed.steps_per_token == pytest.approx(0.25)


def test_rounds_are_compared_in_pairs() -> None:
    slow = dataclasses.replace(ROUND, seconds=40.0)
    twice = [dataclasses.replace(round_, seconds=round_.seconds / 2) for round_ in (ROUND, slow)]
    results = {ANEW: [ROUND, slow], PREFIX: [ROUND, slow], FOUND: twice}
    rows = {(row.variant, row.metric): row for row in rows_of("case", CELLS[0], results, FACTS)}
    ratio = rows[f"{FOUND} / {ANEW}", "tokens per second"]
    assert (ratio.p50, ratio.low95, ratio.high95, ratio.n) == (2.0, 2.0, 2.0, 2)
    assert rows[FOUND, "answers as those written anew"].p50 == 1.0
    assert rows[PREFIX, "of answers: kept"].p50 == 0.0


def test_one_server_runs_at_a_time_and_every_arm_is_first_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions = [DraftedQuestion(messages=(), draft=str(i), max_tokens=1) for i in range(6)]
    started: list[str] = []
    running: list[str] = []
    requests: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def serve(arm: str) -> Iterator[int]:
        assert not running
        started.append(arm)
        running.append(arm)
        yield 1
        running.clear()

    def ask(port: int, chosen: list[DraftedQuestion], cell: drafts.Cell) -> ArmRound:
        del port
        requests.append((str(cell), "".join(question.draft for question in chosen)))
        return ROUND

    monkeypatch.setattr(drafts, "ask", ask)
    results = measure(serve, questions, 3)
    assert [len(rounds) for arms in results.values() for rounds in arms.values()] == [3] * 9
    assert set(started[::3]) == set(ARMS)
    assert requests == [
        (str(c), numbers) for numbers in ("01", "23", "45") for _ in ARMS for c in CELLS
    ]
