"""Reading a sample: what fits, and how the first line that does not is named."""

from pathlib import Path

import pytest

from cascadia_sglang.calibration.sample import Question, prompt_key, read_sample
from cascadia_sglang.errors import CalibrationError


def write(folder: Path, *lines: str) -> Path:
    path = folder / "set.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_both_kinds_of_question_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"id": "1", "prompt": "add 1 2", "reference": 3, "group": "add"}',
        "",
        '{"id": "2", "messages": [{"role": "user", "content": "x"}], "reference": null}',
    )
    first, second = read_sample(path)
    assert (first.prompt, first.reference_text, first.group) == ("add 1 2", "3", "add")
    assert second.messages == [{"role": "user", "content": "x"}]
    assert second.reference_text is None


GOOD = '{"id": "1", "prompt": "x"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ('{"id": "2"}', "line 2: one of messages and prompt"),
        ('{"id": "2", "prompt": "x", "messages": []}', "line 2: one of messages and prompt"),
        ('{"id": "", "prompt": "x"}', "line 2: id is empty"),
        ('{"id": "2", "promt": "x"}', "line 2: .*`promt`"),
        ('{"id": 2, "prompt": "x"}', r"line 2: .*\$.id"),
        (GOOD, "line 2: id '1' is on line 1 already"),
        ('{"id": "2", "prompt": "x", "constraint": {"xml": "y"}}', "line 2: constraint needs"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        read_sample(write(tmp_path, GOOD, line))


def test_an_empty_or_missing_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no question"):
        read_sample(write(tmp_path, ""))
    with pytest.raises(CalibrationError, match="No such file"):
        read_sample(tmp_path / "none.jsonl")


def chat(text: str, role: str = "user", **more: str) -> Question:
    return Question(id="c", messages=[{"role": role, "content": text}], **more)


def test_questions_that_ask_the_same_share_a_key() -> None:
    same = [
        Question(id="1", prompt="add 2 3"),
        Question(id="2", prompt="  add 2 3\n", reference="5", group="g"),
        Question(id="3", prompt="add 2 3", constraint={"regex": "[0-9]"}),
        chat("add 2 3"),
        chat("add 2 3 ", reference="5"),
        Question(id="4", messages=[{"content": "add 2 3", "role": "user"}]),
    ]
    assert len({prompt_key(question) for question in same}) == 1


def test_questions_that_differ_have_keys_of_their_own() -> None:
    several = [
        Question(id="1", prompt="add 2 3"),
        Question(id="2", prompt="add 2  3"),
        Question(id="3", prompt="Add 2 3"),
        chat("add 2 3", role="system"),
        Question(id="4", messages=[{"role": "user", "content": "add 2 3"}] * 2),
        Question(id="5", messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
    ]
    assert len({prompt_key(question) for question in several}) == len(several)
