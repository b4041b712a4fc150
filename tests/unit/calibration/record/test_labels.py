"""Which answers are acceptable."""

import shlex
import sys

import pytest

from cascadia_sglang.calibration.record.labels import last_number, make_labeler, needs_reference
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError


def question(reference: str | float | None, name: str = "q") -> Question:
    return Question(id=name, prompt="p", reference=reference)


def label(how: str, answers: list[str], reference: str | float | None) -> list[bool]:
    (labels,) = make_labeler(how)([question(reference)] * len(answers), [answers])
    return labels


def test_exact_ignores_white_space_around() -> None:
    assert label("exact", [" 42\n", "42.0", "4 2"], "42") == [True, False, False]
    assert label("exact", ["42"], 42) == [True]


def test_number_is_the_last_one_whatever_its_form() -> None:
    answers = ["it is 1,234.50 in all", "1234.5", "2 and 1.2345e3", "1234.6", "none", "-1234.5"]
    assert label("number", answers, "= 1234.5") == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3 + 4 = 7.", 7.0), (".5", 0.5), ("1e-3", 0.001), ("no", None), ("-2,000", -2000.0)],
)
def test_last_number(text: str, value: float | None) -> None:
    assert last_number(text) == value


def test_regex_compares_its_last_match_or_its_group() -> None:
    assert label(r"regex:answer: (\w+)", ["answer: a answer: b", "b", "answer: a"], "b") == [
        True,
        False,
        False,
    ]
    assert label(r"regex:\d+", ["1 then 22"], "22") == [True]


def test_agreement_asks_the_last_tier() -> None:
    labeler = make_labeler("agreement")
    labels = labeler([question(None)] * 2, [["a  b", "x"], ["c", "y"], ["a b", "y"]])
    assert labels == [[True, False], [False, True], [True, True]]


JUDGE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(str(asked["answer"] == asked["reference"] and asked["tier"] == 1).lower())
"""


def test_a_command_says_true_or_false_for_every_answer() -> None:
    command = f"command:{shlex.join([sys.executable, '-c', JUDGE])}"
    labels = make_labeler(command)([question("a"), question("b")], [["a", "b"], ["a", "c"]])
    assert labels == [[False, False], [True, False]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('true')", "wrote 1 lines for 2 answers"),
        ("print('maybe'); print('true')", "line 1 is 'maybe'"),
        ("import sys; sys.exit('broken')", "ended with 1: broken"),
    ],
)
def test_a_command_that_fails_is_named(code: str, message: str) -> None:
    labeler = make_labeler(f"command:{shlex.join([sys.executable, '-c', code])}")
    with pytest.raises(CalibrationError, match=message):
        labeler([question("a")], [["a"], ["a"]])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fuzzy", "allowed: exact, number"),
        ("regex:(", "regex:"),
        ("regex:", "is unknown"),
        ("command:'", "No closing quotation"),
    ],
)
def test_a_label_that_is_none_is_refused(how: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        make_labeler(how)


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(CalibrationError, match="'/nowhere/judge': No such file"):
        make_labeler("command:/nowhere/judge")([question(None)], [["a"]])


def test_what_needs_a_reference_says_so() -> None:
    assert needs_reference("exact")
    assert not needs_reference("agreement")
    assert not needs_reference("command:x")
    with pytest.raises(CalibrationError, match="'q' has no reference"):
        label("exact", ["a"], None)
