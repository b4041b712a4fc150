"""Asks a command of the operator which answers are acceptable, once for all of them.

A JSON object per line in, `true` or `false` per line out. An object has `id`, `messages` or
`prompt`, `tools` where there are any, `reference`, `group`, `tier` (its index) and `answer`.
"""

import json
import shlex
import subprocess
from collections.abc import Sequence

from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError

COMMAND_S = 3600.0


def split_command(command: str) -> list[str]:
    """The words of a command.

    Raises:
        CalibrationError: if it has none, or a quote without its end.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CalibrationError(f"--label command:{command}: {error}") from error
    if not words:
        raise CalibrationError("--label command: needs a command behind the colon")
    return words


def ask_command(
    words: Sequence[str], questions: Sequence[Question], answers: Sequence[Sequence[str]]
) -> list[list[bool]]:
    """Whether each answer is acceptable, [tier][question].

    Raises:
        CalibrationError: if the command fails, or does not answer with one line per answer.
    """
    entries = [
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
    lines = _run(words, "".join(json.dumps(entry) + "\n" for entry in entries))
    if len(lines) != len(entries):
        raise CalibrationError(
            f"the label command wrote {len(lines)} lines for {len(entries)} answers"
        )
    labels = [_as_bool(line, number) for number, line in enumerate(lines, 1)]
    count = len(questions)
    return [labels[start : start + count] for start in range(0, len(labels), count)]


def _run(words: Sequence[str], text: str) -> list[str]:
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False
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
