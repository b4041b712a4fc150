"""What all systems are asked: short questions in the part `test`, as texts, and how they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bench.real.live.choice import SET, TEST, Records
from bench.real.question_sets import MAX_TOKENS, Question
from bench.real.record import label
from bench.rivals.system import Exam

CONCURRENCY = 8
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveQuestion:
    """A question, and the text that is sent."""

    question: Question
    prompt: str


def _is_right(question: LiveQuestion, text: str) -> bool:
    return bool(label(question.question, text))


# Streams leave as they do without a header.
EXAM = Exam(is_right=_is_right, max_tokens=MAX_TOKENS[SET], concurrency=CONCURRENCY, streamed={})


def live_questions(
    records: Records, prompts: Sequence[str], parts: Sequence[str] = TEST
) -> list[LiveQuestion]:
    """The questions of some parts, shuffled."""
    questions = [
        LiveQuestion(question=records.questions[row], prompt=prompts[row])
        for row in records.rows(parts)
    ]
    Random(_SEED).shuffle(questions)
    return questions


def taken(questions: Sequence[LiveQuestion], number: int, count: int) -> list[LiveQuestion]:
    """The part of this number, of so many questions; after the last come the first again."""
    return [questions[i % len(questions)] for i in range(number * count, (number + 1) * count)]
