"""Which texts are right answers."""

import pytest

from bench.real.checker import is_right
from bench.real.questions import questions


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("843", "843"),
        (" 843\n", "843"),
        ("843.", "843"),
        ("1,234", "1234"),
        ("-1,234,567.5", "-1234567.5"),
        ("PARIS", "Paris"),
        ("'window'", "window"),
        ('"window".', "window"),
        ("`window`", "window"),
        ("[1,2]", "[1, 2]"),
        ("[ 1 , 2 ]", "[1, 2]"),
        ("apple,bread,  chair", "apple, bread, chair"),
        ("False", "False"),
    ],
)
def test_how_it_is_set_does_not_count(text: str, answer: str) -> None:
    assert is_right(text, (answer,))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "0"),
        ("8430", "843"),
        ("84", "843"),
        ("-843", "843"),
        ("4.0", "4"),
        ("4.5", "45"),
        ("1,23", "123"),
        ("[1,234]", "[1234]"),
        ("The answer is 843", "843"),
        ("457 + 386 = 843", "843"),
        ("843 apples", "843"),
        ("bread, apple, chair", "apple, bread, chair"),
        ("applebread", "apple bread"),
        ("windows", "window"),
        ("True", "False"),
    ],
)
def test_another_result_or_words_around_it_are_wrong(text: str, answer: str) -> None:
    assert not is_right(text, (answer,))


def test_any_of_the_answers_is_right() -> None:
    assert is_right("180 minutes", ("180", "180 minutes"))
    assert not is_right("180 hours", ("180", "180 minutes"))


def test_every_question_takes_its_own_answers_and_no_longer_ones() -> None:
    for question in questions():
        for answer in question.answers:
            assert is_right(f" {answer}.\n", question.answers)
            assert not is_right(f"{answer}0", question.answers)
            assert not is_right(f"It is {answer}", question.answers)
