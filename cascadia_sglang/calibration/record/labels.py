"""Says which answers are acceptable: exact match, number, regex, a command, or agreement.

`agreement` needs no references: an answer is acceptable where it equals the last tier's. Scores
then mean "as the last tier would have said", and the last tier itself is always right.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence

from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.same_answer import same_answer

COMMAND_S = 3600.0
KINDS = "exact, number, regex:PATTERN, command:COMMAND or agreement"

# Questions and each tier's answers to them, [tier][question] -> whether each is acceptable.
Labeler = Callable[[Sequence[Question], Sequence[Sequence[str]]], list[list[bool]]]
Compare = Callable[[str, str], bool]

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def make_labeler(text: str) -> Labeler:
    """The labeler that `--label` names.

    Raises:
        CalibrationError: if there is none of this name, or its pattern or command is malformed.
    """
    kind, _, rest = text.partition(":")
    if text == "exact":
        return _compared(lambda answer, reference: answer.strip() == reference.strip(), text)
    if text == "number":
        return _compared(same_number, text)
    if text == "agreement":
        return _agreement
    if kind == "regex" and rest:
        return _compared(_same_match(rest), kind)
    if kind == "command" and rest:
        return _commanded(rest)
    raise CalibrationError(f"--label {text!r} is unknown, allowed: {KINDS}")


def needs_reference(text: str) -> bool:
    """Whether questions without a reference cannot be labelled so."""
    return text != "agreement" and not text.startswith("command:")


def last_number(text: str) -> float | None:
    """The last number in a text; commas within it separate thousands."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def same_number(answer: str, reference: str) -> bool:
    """Whether the last numbers of both are equal, to nine digits."""
    mine, other = last_number(answer), last_number(reference)
    if mine is None or other is None:
        return False
    return abs(mine - other) <= 1e-9 * max(abs(mine), abs(other))


def _same_match(pattern: str) -> Compare:
    """Compares what a pattern finds last: its first group, or all of it where it has none."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CalibrationError(f"--label regex:{pattern}: {error}") from error

    def compare(answer: str, reference: str) -> bool:
        found = list(compiled.finditer(answer))
        if not found:
            return False
        value = found[-1].group(1 if compiled.groups else 0)
        return value is not None and value.strip() == reference.strip()

    return compare


def _compared(compare: Compare, name: str) -> Labeler:
    def label(questions: Sequence[Question], answers: Sequence[Sequence[str]]) -> list[list[bool]]:
        references: list[str] = []
        for question in questions:
            if question.reference_text is None:
                raise CalibrationError(
                    f"question {question.id!r} has no reference, {name} needs one"
                )
            references.append(question.reference_text)
        return [[compare(a, r) for a, r in zip(tier, references, strict=True)] for tier in answers]

    return label


def _agreement(questions: Sequence[Question], answers: Sequence[Sequence[str]]) -> list[list[bool]]:
    del questions
    return [[same_answer(a, b) for a, b in zip(tier, answers[-1], strict=True)] for tier in answers]


def _commanded(command: str) -> Labeler:
    """Asks a command, once for all answers: a JSON object a line in, `true` or `false` a line out.

    An object has `id`, `messages` or `prompt`, `tools` where there are any, `reference`, `group`,
    `tier` (its index) and `answer`.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CalibrationError(f"--label command:{command}: {error}") from error

    def label(questions: Sequence[Question], answers: Sequence[Sequence[str]]) -> list[list[bool]]:
        asked = [
            {
                "id": question.id,
                "messages": question.messages,
                "prompt": question.prompt,
                **({"tools": question.tools} if question.tools else {}),
                "reference": question.reference,
                "group": question.group,
                "tier": tier,
                "answer": answer,
            }
            for tier, given in enumerate(answers)
            for question, answer in zip(questions, given, strict=True)
        ]
        said = _run(words, "".join(json.dumps(one) + "\n" for one in asked))
        if len(said) != len(asked):
            raise CalibrationError(
                f"the label command wrote {len(said)} lines for {len(asked)} answers"
            )
        labels = [_as_bool(line, number) for number, line in enumerate(said, 1)]
        count = len(questions)
        return [labels[start : start + count] for start in range(0, len(labels), count)]

    return label


def _run(words: list[str], asked: str) -> list[str]:
    try:
        done = subprocess.run(
            words, input=asked, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except OSError as error:
        raise CalibrationError(f"the label command {words[0]!r}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CalibrationError(f"the label command took more than {COMMAND_S:.0f} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise CalibrationError(f"the label command ended with {done.returncode}: {last}")
    return done.stdout.splitlines()


def _as_bool(line: str, number: int) -> bool:
    word = line.strip().lower()
    if word not in ("true", "false", "1", "0"):
        raise CalibrationError(f"the label command's line {number} is {line!r}, not true or false")
    return word in ("true", "1")
