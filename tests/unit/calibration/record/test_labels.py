"""Which answers are acceptable."""

import shlex
import sys

import pytest

from cascadia_sglang.calibration.record.labels import DEFAULT, Labeler
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError


def question(reference: str | float | None, name: str = "q") -> Question:
    return Question(id=name, prompt="p", reference=reference)


def label(how: str, answers: list[str], reference: str | float | None) -> list[bool]:
    (labels,) = Labeler(how)([question(reference)] * len(answers), [answers])
    return labels


def test_exact_ignores_white_space_around() -> None:
    assert label("exact", [" 42\n", "42.0", "4 2"], "42") == [True, False, False]
    assert label("exact", ["42"], 42) == [True]


def test_number_is_the_last_one_in_any_form() -> None:
    answers = [
        "it is 1,234.50 in all",
        "1234.5",
        "2 + 1232.5 = 1.2345e3",
        "1234.6",
        "none",
        "-1234.5",
    ]
    assert label("number", answers, "= 1234.5") == [True, True, True, False, False, False]


def test_regex_compares_its_last_match_or_its_group() -> None:
    assert label(r"regex:answer: (\w+)", ["answer: a answer: b", "b", "answer: a"], "b") == [
        True,
        False,
        False,
    ]
    assert label(r"regex:\d+", ["1 then 22"], "22") == [True]


def test_agreement_asks_the_last_tier() -> None:
    labeler = Labeler("agreement")
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
    labels = Labeler(command)([question("a"), question("b")], [["a", "b"], ["a", "c"]])
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
    labeler = Labeler(f"command:{shlex.join([sys.executable, '-c', code])}")
    with pytest.raises(CalibrationError, match=message):
        labeler([question("a")], [["a"], ["a"]])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fuzzy", "--label 'fuzzy' is unknown, allowed: auto, number"),
        ("regex:(", "regex:"),
        ("regex:", "is unknown"),
        ("command:'", "No closing quotation"),
        ("command:", "needs a command"),
        ("date:year-first", "is unknown"),
    ],
)
def test_a_label_that_is_none_is_refused(how: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Labeler(how)


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(CalibrationError, match="'/nowhere/judge': No such file"):
        Labeler("command:/nowhere/judge")([question(None)], [["a"]])


def test_what_needs_a_reference_is_known() -> None:
    for kind, is_needed in (
        ("exact", True),
        ("auto", True),
        ("agreement", False),
        ("command:x", False),
    ):
        assert Labeler(kind).needs_reference(question(None)) is is_needed
    with pytest.raises(CalibrationError, match="'q' has no reference"):
        label("exact", ["a"], None)


def test_every_question_may_have_a_kind_of_its_own() -> None:
    """A command gets the questions without one, in one run."""
    questions = [
        Question(id="n", prompt="p", reference="42", label="number"),
        Question(id="c", prompt="p", reference="a"),
        Question(id="w", prompt="p", reference="Paris", label="words"),
        Question(id="g", prompt="p", label="agreement"),
        Question(id="d", prompt="p", reference="b"),
    ]
    labeler = Labeler(f"command:{shlex.join([sys.executable, '-c', JUDGE])}")
    assert labeler.check(questions) == {"number": 1, "command": 2, "words": 1, "agreement": 1}
    answers = [
        ["42 apples", "a", "It is Paris.", "x", "c"],
        ["43 apples", "a", "It is Rome.", "x", "b"],
    ]
    assert labeler(questions, answers) == [
        [True, False, True, True, False],
        [False, True, False, True, True],
    ]


def test_auto_takes_the_kind_from_the_reference() -> None:
    references = ["42", "5 km", "3/4", "2024-03-05", "Paris", "3 musketeers", 7, 0.5]
    questions = [question(reference, str(row)) for row, reference in enumerate(references)]
    assert Labeler(DEFAULT).check(questions) == {"number": 5, "date": 1, "words": 2}


def test_an_answer_fits_one_of_several_references() -> None:
    multiple = Question(id="q", prompt="p", reference=["brown coat", 7, "2024-03-05"])
    assert Labeler(DEFAULT).check([multiple]) == {"words": 1}
    answers = ["A brown coat.", "seven", "March 5, 2024", "coat", "8"]
    labels = [Labeler(DEFAULT)([multiple], [[answer]])[0][0] for answer in answers]
    assert labels == [True, True, True, False, False]
    with pytest.raises(ValueError, match="reference is empty"):
        Question(id="q", prompt="p", reference=[])


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        (
            Question(id="q", prompt="p", reference="1", label="fuzzy"),
            "question 'q': label 'fuzzy' is unknown, allowed: auto, number",
        ),
        (
            Question(id="q", prompt="p", reference="1", label="regex:("),
            "question 'q': label regex:",
        ),
        (
            Question(id="q", prompt="p", reference="1", label="command:ls"),
            "'command:ls' is not allow",
        ),
        (
            Question(id="q", prompt="p", reference="many", label="number"),
            "'many' does not give one",
        ),
        (
            Question(id="q", prompt="p", reference="3 or 4", label="number"),
            "does not give one number",
        ),
        (
            Question(id="q", prompt="p", reference="5/6/2024", label="date"),
            "write it as 2024-03-05",
        ),
        (Question(id="q", prompt="p", reference="...", label="words"), "has no words"),
        (Question(id="q", prompt="p", label="number"), "'q' has no reference, number needs one"),
    ],
)
def test_a_question_that_cannot_be_labelled_is_named_before_it_is_asked(
    unlabelled: Question, message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        Labeler(DEFAULT).check([unlabelled])
