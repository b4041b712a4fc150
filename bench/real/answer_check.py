"""Says whether a model's answer to a generated question is right; words around it do not count.

The answer is what follows the last "answer is", `=` or `\\boxed`; without one it is the whole of a
short text, and the last line of reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from bench.real.checker import normalised
from bench.real.question_sets import Question

_MARK = re.compile(r"answer(?: is)?\s*:?|\\boxed\s*\{|####|=(?!=)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:,\d{3})+(?:\.\d+)?|-?\d+\s*/\s*\d+|-?\d*\.\d+|-?\d+")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?")
_EMPHASIS = re.compile(r"\*\*|__|`+|\\\(|\\\)|\$(?=\\)|\\text\{")


def is_correct(text: str, question: Question) -> bool:
    """Whether a text answers the question, by its `answers` and `candidates`."""
    plain = _EMPHASIS.sub("", text).strip()
    if normalised(plain) in {normalised(answer) for answer in question.answers}:
        return True
    said = final_part(plain, is_reasoned=question.set == "reasoning")
    if normalised(said) in {normalised(answer) for answer in question.answers}:
        return True
    if _PLAIN_NUMBER.fullmatch(question.answers[0]):
        return _names_number(said, question)
    return _names_words(said, question.answers, question.candidates)


def final_part(text: str, *, is_reasoned: bool) -> str:
    """What of a text counts as the answer."""
    marks = list(_MARK.finditer(text))
    if marks:
        return text[marks[-1].end() :].strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if is_reasoned and lines else text


def _names_number(said: str, question: Question) -> bool:
    """Whether the answer is the only number in a text, but for numbers that the question states.

    A wrong candidate that the question offers is not excused.
    """
    answer = _value(question.answers[0])
    excused = _values(question.messages[-1]["content"]) - _values(" ".join(question.candidates))
    values = _values(said)
    return answer in values and not values - excused - {answer}


def _values(text: str) -> set[Fraction | None]:
    return {_value(number) for number in _NUMBER.findall(text)}


def _value(number: str) -> Fraction | None:
    try:
        return Fraction(re.sub(r"[,\s]", "", number))
    except (ValueError, ZeroDivisionError):
        return None


def _names_words(said: str, answers: Sequence[str], candidates: Sequence[str]) -> bool:
    """Whether a text has an answer in it, and no wrong candidate."""
    rest = said.casefold()
    if any(_has(rest, candidate) for candidate in candidates):
        return False
    return any(_has(rest, answer) for answer in answers)


def _has(text: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words.casefold())}(?!\w)", text) is not None
