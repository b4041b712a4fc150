"""Two answers agree where only their form differs, and never where their meaning may."""

import pytest

from cascadia_sglang.judge.same_answer import (
    SHORT_CHARACTERS,
    is_short,
    plain_answer,
    same_answer,
)


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("fifty  six", "fifty six\n"),
        ("Paris.", "paris"),
        ('"Paris"', "**Paris**"),
        ("Yes!", "yes"),
        ("1,234", "1234"),
        ("+3.50", "3.5"),
        ("7.0", "7"),
        ("5.0%", "5%"),
        ("１２", "12"),  # noqa: RUF001
        ("42.", "42"),
    ],
)
def test_form_alone_makes_no_difference(answer: str, other: str) -> None:
    assert same_answer(answer, other)
    assert same_answer(other, answer)


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("-5", "5"),
        ("5%", "5"),
        (".5", "5"),
        ("5!", "5"),
        ("12,34", "1234"),
        ("50", "5"),
        ("version 3.10", "version 3.1"),
        ("not Paris", "Paris"),
        ("[1]", "1"),
        ("a b", "ab"),
        ("", "no"),
    ],
)
def test_what_may_mean_something_else_differs(answer: str, other: str) -> None:
    assert not same_answer(answer, other)
    assert not same_answer(other, answer)


def test_a_plain_answer_stays_as_it_is() -> None:
    for text in ("", "paris", "1234.5", "-7", "add 1, 2"):
        assert plain_answer(text) == text
        assert plain_answer(plain_answer(text)) == text


def test_an_answer_is_short_by_what_is_left_of_it() -> None:
    assert is_short("a" * SHORT_CHARACTERS + " .\n")
    assert not is_short("a" * (SHORT_CHARACTERS + 1))
