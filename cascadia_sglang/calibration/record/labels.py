"""Says which answers are acceptable: by their number, date or words, a pattern, or a command.

`agreement` needs no references: an answer is acceptable where it equals the last tier's. Scores
then mean "as the last tier would have said", and the last tier itself is always right.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cascadia_sglang.calibration.answers.dates import Order, answered_date, whole_date
from cascadia_sglang.calibration.answers.quantities import answered_quantity, whole_quantity
from cascadia_sglang.calibration.answers.words import gives_words, plain_words
from cascadia_sglang.calibration.record.label_command import ask_command, split_command
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.same_answer import same_answer

KINDS = (
    "auto, number, words, date, date:day-first, date:month-first, exact, regex:PATTERN, agreement "
    "or command:COMMAND"
)
DEFAULT = "auto"
_AGREEMENT = "agreement"
_COMMAND = "command:"

# Says of an answer whether it is acceptable.
Check = Callable[[str], bool]
# The check that a reference asks for; a ValueError says why there is none.
Rule = Callable[[str], Check]


class Labeler:
    """Labels the answers to a sample, each question by its own kind or by the default."""

    def __init__(self, default: str) -> None:
        """Take the kind of the questions that have none of their own.

        Raises:
            CalibrationError: if there is no such kind, or its pattern or command is malformed.
        """
        self._default = default
        if default.startswith(_COMMAND):
            self._words = split_command(default.removeprefix(_COMMAND))
        elif default != _AGREEMENT:
            _rule(default, "--label")

    def kind_of(self, question: Question) -> str:
        """How the answers to a question are labelled."""
        return self._default if question.label is None else question.label

    def needs_reference(self, question: Question) -> bool:
        """Whether a question cannot be labelled without a reference."""
        kind = self.kind_of(question)
        return kind != _AGREEMENT and not kind.startswith(_COMMAND)

    def check(self, questions: Iterable[Question]) -> Counter[str]:
        """Check kinds and references, before anything is asked; how many questions have each kind.

        `auto` counts under the kinds that it finds.

        Raises:
            CalibrationError: names the question, and what is wrong with its kind or reference.
        """
        counts: Counter[str] = Counter()
        for question in questions:
            kind = self.kind_of(question)
            if question.label is not None and kind.startswith(_COMMAND):
                raise CalibrationError(
                    f"question {question.id!r}: label {kind!r} is not allowed in a sample; "
                    "--label takes a command"
                )
            if self.needs_reference(question):
                self._check_of(question)
            if kind == DEFAULT:
                kind = _found_kind(question.references[0])
            counts[kind.partition(":")[0]] += 1
        return counts

    def __call__(
        self, questions: Sequence[Question], answers: Sequence[Sequence[str]]
    ) -> list[list[bool]]:
        """Whether each answer is acceptable.

        Args:
            answers: [tier][question], of every tier, smallest first.

        Raises:
            CalibrationError: if a question lacks what its kind needs, or a command fails.
        """
        labels = [[False] * len(questions) for _ in answers]
        commanded = []
        for row, question in enumerate(questions):
            kind = self.kind_of(question)
            if kind.startswith(_COMMAND):
                commanded.append(row)
                continue
            if kind == _AGREEMENT:
                check: Check = partial(same_answer, other=answers[-1][row])
            else:
                check = self._check_of(question)
            for tier, given in zip(labels, answers, strict=True):
                tier[row] = check(given[row])
        if commanded:
            command_labels = ask_command(
                self._words,
                [questions[row] for row in commanded],
                [[given[row] for row in commanded] for given in answers],
            )
            for tier, tier_labels in zip(labels, command_labels, strict=True):
                for row, label in zip(commanded, tier_labels, strict=True):
                    tier[row] = label
        return labels

    def _check_of(self, question: Question) -> Check:
        kind = self.kind_of(question)
        if not question.references:
            raise CalibrationError(f"question {question.id!r} has no reference, {kind} needs one")
        try:
            rule = _rule(kind, f"question {question.id!r}: label")
            checks = [rule(reference) for reference in question.references]
        except ValueError as error:
            raise CalibrationError(f"question {question.id!r}: {error}") from error
        return lambda answer: any(check(answer) for check in checks)


def _rule(kind: str, subject: str) -> Rule:
    if kind in _RULES:
        return _RULES[kind]
    name, _, rest = kind.partition(":")
    if name == "regex" and rest:
        return _pattern(rest, subject)
    raise CalibrationError(f"{subject} {kind!r} is unknown, allowed: {KINDS}")


def _auto(reference: str) -> Check:
    return _RULES[_found_kind(reference)](reference)


def _found_kind(reference: str) -> str:
    """The kind that `auto` takes for a reference."""
    if whole_quantity(reference) is not None:
        return "number"
    return "words" if whole_date(reference) is None else "date"


def _number(reference: str) -> Check:
    expected = answered_quantity(reference)
    if expected is None:
        raise ValueError(f"the reference {reference!r} does not give one number")

    def check(answer: str) -> bool:
        given = answered_quantity(answer)
        return given is not None and given.is_same(expected)

    return check


def _words(reference: str) -> Check:
    phrase = plain_words(reference)
    if not phrase:
        raise ValueError(f"the reference {reference!r} has no words")
    return lambda answer: gives_words(answer, phrase)


def _date(order: Order | None) -> Rule:
    def rule(reference: str) -> Check:
        expected = answered_date(reference, order)
        if expected is None:
            raise ValueError(
                f"the reference {reference!r} does not give one date; write it as 2024-03-05"
            )

        def check(answer: str) -> bool:
            given = answered_date(answer, order)
            return given is not None and given.fits(expected)

        return check

    return rule


def _exact(reference: str) -> Check:
    return lambda answer: answer.strip() == reference.strip()


def _pattern(pattern: str, subject: str) -> Rule:
    """Compares what a pattern finds last: its first group, or all of it where it has none."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CalibrationError(f"{subject} regex:{pattern}: {error}") from error

    def rule(reference: str) -> Check:
        def check(answer: str) -> bool:
            matches = list(compiled.finditer(answer))
            if not matches:
                return False
            value: str | None = matches[-1].group(1 if compiled.groups else 0)
            return value is not None and value.strip() == reference.strip()

        return check

    return rule


_RULES: dict[str, Rule] = {
    "auto": _auto,
    "number": _number,
    "words": _words,
    "date": _date(None),
    "date:day-first": _date("day-first"),
    "date:month-first": _date("month-first"),
    "exact": _exact,
}
