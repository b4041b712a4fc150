"""The question sets: answers by another way, wordings kept apart, the same draw every time."""

import datetime
import itertools
import re
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from bench.real.kinds.task import Facts, Task
from bench.real.question_sets import (
    REASONING,
    SETS,
    SHORT,
    SIZES,
    TEST_WORDINGS,
    Question,
    question_set,
)
from bench.real.record import label

SHORT_QUESTIONS = question_set("short")
REASONING_QUESTIONS = question_set("reasoning")


def of_kind(questions: list[Question], kind: str) -> list[Question]:
    return [question for question in questions if question.kind == kind]


def prompt(question: Question) -> str:
    return question.messages[-1]["content"]


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_its_size_and_is_the_same_every_time(name: str) -> None:
    questions = question_set(name)
    assert len(questions) == SIZES[name]
    assert questions == question_set(name)
    assert len({question.id for question in questions}) == len(questions)
    assert question_set(name, 3) == questions[:3]


def test_the_generated_sets_have_kinds_and_wordings_enough() -> None:
    assert len(SHORT) >= 5
    for kind in (*SHORT.values(), *REASONING.values()):
        assert all(len(task.wordings) >= 8 for task in kind)
    for questions, kinds in ((SHORT_QUESTIONS, SHORT), (REASONING_QUESTIONS, REASONING)):
        counts = Counter(question.kind for question in questions)
        assert set(counts) == set(kinds)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("kinds", [SHORT, REASONING], ids=["short", "reasoning"])
def test_no_wording_of_the_test_part_is_in_another_part(
    kinds: dict[str, tuple[Task, ...]],
) -> None:
    questions = SHORT_QUESTIONS if kinds is SHORT else REASONING_QUESTIONS
    patterns = {
        (kind, number, wording): re.compile(pattern_of(text), re.DOTALL)
        for kind, tasks in kinds.items()
        for number, task in enumerate(tasks)
        for wording, text in enumerate(task.wordings)
    }
    for question in questions:
        is_test = question.part == "test"
        fits = {
            wording
            for (kind, _, wording), pattern in patterns.items()
            if kind == question.kind and pattern.fullmatch(prompt(question))
        }
        assert any((wording in TEST_WORDINGS) == is_test for wording in fits), question


def pattern_of(wording: str) -> str:
    """A regular expression of what a wording can become."""
    parts = re.split(r"(?<!\{)\{\w+\}(?!\})", wording)
    return ".+?".join(re.escape(part.format()) for part in parts)


def test_the_parts_have_their_shares() -> None:
    counts = Counter(question.part for question in SHORT_QUESTIONS)
    assert 0.30 < counts["test"] / len(SHORT_QUESTIONS) < 0.37
    assert counts["fit"] > 900
    assert counts["certify"] > 350
    assert counts["choose"] > 200


@pytest.mark.parametrize("name", ["short", "reasoning"])
def test_every_answer_is_labelled_right_however_it_is_said(name: str) -> None:
    for question in question_set(name):
        for answer in question.answers:
            for text in (answer, f"{answer}.", f"The answer is {answer}."):
                assert label(question, text), (question, text)


def test_another_questions_answer_is_labelled_wrong() -> None:
    for questions in (SHORT_QUESTIONS, REASONING_QUESTIONS):
        for question, other in itertools.pairwise(questions):
            if not set(question.answers) & set(other.answers):
                assert not label(question, other.answers[0]), (question, other.answers)


def test_python_prints_the_answers_to_code() -> None:
    """Every expression and program is run by another process."""
    program = []
    expected = []
    for question in of_kind(SHORT_QUESTIONS, "code output") + of_kind(REASONING_QUESTIONS, "trace"):
        code = code_of(question)
        program.append(f"with redirect_stdout(StringIO()) as out:\n    run({code!r})")
        program.append("print(repr(out.getvalue().strip()))")
        expected.append(repr(question.answers[0]))
    head = (
        "from contextlib import redirect_stdout\nfrom io import StringIO\n"
        "def run(code):\n"
        "    try:\n        value = eval(code, {})\n"
        "    except SyntaxError:\n        exec(code, {})\n"
        "    else:\n        print(value) if value is not None else None\n"
    )
    shown = subprocess.run(
        [sys.executable, "-I", "-c", head + "\n".join(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert shown.stdout.splitlines() == expected


def code_of(question: Question) -> str:
    """The code of a prompt: the longest beginning at a line or mark that Python accepts."""
    text = prompt(question)
    for task in (*SHORT["code output"], *REASONING["trace"]):
        for wording in task.wordings:
            before, _, after = wording.partition("{code}")
            if text.startswith(before) and text.endswith(after):
                code = text[len(before) : len(text) - len(after)]
                try:
                    compile(code, "code", "exec")
                except SyntaxError:
                    continue
                return code
    raise AssertionError(text)


def test_dates_agree_with_a_count_day_by_day() -> None:
    checked = 0
    for question in of_kind(SHORT_QUESTIONS, "dates"):
        named = re.search(r"([A-Z][a-z]+ \d{1,2}, \d{4})", prompt(question))
        if named is None:
            continue
        day = datetime.datetime.strptime(named.group(1), "%B %d, %Y").date()
        [later] = integers(prompt(question).replace(named.group(1), "").replace("00:00", ""))
        for _ in range(later):
            day = next_day(day)
        assert question.answers[-1] == day.isoformat()
        checked += 1
    assert checked > 50


def next_day(day: datetime.date) -> datetime.date:
    try:
        return day.replace(day=day.day + 1)
    except ValueError:
        is_december = day.month == 12
        year, month = (day.year + 1, 1) if is_december else (day.year, day.month + 1)
        return datetime.date(year, month, 1)


def test_sums_and_percentages_are_right_by_arithmetic_on_the_text() -> None:
    checked = 0
    for question in of_kind(SHORT_QUESTIONS, "comparisons"):
        text = prompt(question)
        match = re.search(r"(\d+) ([-+*]) (\d+)", text)
        if match and "fraction" not in text:
            left, sign, right = match.groups()
            assert question.answers[0] == str(eval(f"{left} {sign} {right}"))
            checked += 1
        elif "%" in text or "percent" in text:
            part, whole = integers(text)
            assert int(question.answers[0]) * 100 == part * whole
            checked += 1
    assert checked > 100


def test_the_order_of_people_follows_from_the_statements() -> None:
    for question in of_kind(REASONING_QUESTIONS, "order"):
        pairs = re.findall(r"(\w+) is (?:older|taller) than (\w+)\.", prompt(question))
        people = {name for pair in pairs for name in pair}
        below = dict.fromkeys(people, 0)
        for _ in people:
            for high, low in pairs:
                below[high] = max(below[high], below[low] + 1)
        ranked = sorted(people, key=lambda name: -below[name])
        index = 1 if "second" in prompt(question) else 0
        assert question.answers == (ranked[index],)


def test_an_order_needs_eight_different_wordings() -> None:
    with pytest.raises(ValueError, match="1 wordings, at least 8 needed"):
        Task(draw=lambda _: Facts(fields={}, answers=("1",)), wordings=("the same",) * 8)


def test_tasks_draw_by_their_generator_alone() -> None:
    for kind in (*SHORT.values(), *REASONING.values()):
        for task in kind:
            assert task.draw(Random(3)) == task.draw(Random(3))
