"""Which texts answer a generated question."""

import pytest

from bench.real.answer_check import is_correct
from bench.real.question_sets import Question


def asked(
    *answers: str, name: str = "short", candidates: tuple[str, ...] = (), prompt: str = "?"
) -> Question:
    return Question(
        id="x",
        set=name,
        kind="x",
        part="test",
        messages=({"role": "user", "content": prompt},),
        max_tokens=8,
        answers=answers,
        candidates=candidates,
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("42.", "42"),
        ("42 apples", "42"),
        ("**42**", "42"),
        ("$42", "42"),
        ("1,760 yards", "1760"),
        ("2.50", "2.5"),
        ("20 + 22 = 42", "42"),
        ("The answer is 42 dollars.", "42"),
        ("x = 42", "42"),
        ("\\(\\boxed{42}\\)", "42"),
        ("2 / 4", "1/2"),
        ("-7", "-7"),
    ],
)
def test_a_number_is_right_however_it_is_written(text: str, answer: str) -> None:
    assert is_correct(text, asked(answer))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("43", "42"),
        ("42 or 43", "42"),
        ("142", "42"),
        ("4.2", "42"),
        ("-42", "42"),
        ("42 + 1 = 43", "42"),
        ("The answer is 42 and 7.", "42"),
        ("forty", "42"),
        ("", "42"),
        ("1/0", "42"),
    ],
)
def test_another_number_is_not_right(text: str, answer: str) -> None:
    assert not is_correct(text, asked(answer))


def test_a_number_of_the_question_may_be_said_again() -> None:
    question = asked("25", prompt="How many feet are 300 inches?")
    assert is_correct("300 inches is equal to 25 feet.", question)
    assert not is_correct("300 inches is equal to 24 feet.", question)
    assert not is_correct("300 inches", question)
    assert not is_correct("25 or 26 feet", question)
    offered = asked("4/5", prompt="Which is larger: 5/7 or 4/5?", candidates=("5/7",))
    assert is_correct("4/5 is larger", offered)
    assert not is_correct("5/7 is larger than 4/5", offered)


def test_words_count_without_what_stands_around_them() -> None:
    question = asked("tiger", candidates=("apple", "bread"))
    assert is_correct("The word is 'tiger'.", question)
    assert not is_correct("tigers", question)
    assert not is_correct("apple, tiger", question)
    assert is_correct("Between apple and tiger, the answer is tiger", question)


def test_reasoning_is_right_by_its_last_line() -> None:
    question = asked("14", name="reasoning")
    assert is_correct("First 3 + 4 = 7.\nThen 2 * 7 = 14.\nThe answer is 14.", question)
    assert is_correct("There are 3 and 4.\n\n14 dollars\n", question)
    assert not is_correct("The answer is 14.\nNo, wait: the answer is 15.", question)
    assert not is_correct("14 is a step.\nThe result comes to 15", question)


def test_times_and_dates_are_right_in_each_form() -> None:
    assert is_correct("The film ends at 9:05.", asked("09:05", "9:05"))
    assert not is_correct("19:05", asked("09:05", "9:05"))
    assert is_correct("March 4, 2024", asked("March 4", "March 4, 2024", "2024-03-04"))
    assert not is_correct("March 14", asked("March 4", "March 4, 2024"))
