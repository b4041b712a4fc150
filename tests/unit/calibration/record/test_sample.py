"""Reading a sample: what fits, and how the first line that does not is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from cascadia_sglang.calibration.record.sample import Question, prompt_key, read_sample
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
    assert (first.prompt, first.references, first.group) == ("add 1 2", ["3"], "add")
    assert second.messages == [{"role": "user", "content": "x"}]
    assert second.references == []


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


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
ASKED = [{"role": "user", "content": "How warm is it in Rome?"}]


def test_the_body_of_a_chat_request_is_a_line(tmp_path: Path) -> None:
    """As a gateway logs it: with a model, sampling and streaming of its own, and without an id."""
    body = {
        "model": "gpt-4o",
        "messages": ASKED,
        "tools": [WEATHER],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "temperature": 0.7,
        "max_completion_tokens": 300,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    (question,) = read_sample(write(tmp_path, json.dumps(body)))
    assert question == Question(
        id="line-1",
        messages=ASKED,
        tools=[WEATHER],
        tool_choice="auto",
        parallel_tool_calls=False,
    )


def test_tools_make_another_prompt() -> None:
    plain, tooled = (
        Question(id="1", messages=ASKED),
        Question(id="1", messages=ASKED, tools=[WEATHER]),
    )
    assert prompt_key(plain) != prompt_key(tooled)
    assert prompt_key(plain) == prompt_key(Question(id="2", messages=ASKED, tools=[]))


def test_tools_need_messages(tmp_path: Path) -> None:
    line = json.dumps({"id": "1", "prompt": "x", "tools": [WEATHER]})
    with pytest.raises(CalibrationError, match="line 1: tools needs messages"):
        read_sample(write(tmp_path, line))
    # What is passed over in a chat's body is a slip of the pen elsewhere.
    with pytest.raises(CalibrationError, match=r"line 1: .*`temperature`"):
        read_sample(write(tmp_path, '{"id": "1", "prompt": "x", "temperature": 1}'))


@pytest.mark.parametrize(
    ("fields", "is_constrained"),
    [
        ({}, False),
        ({"tools": [WEATHER]}, False),
        ({"tools": [WEATHER], "tool_choice": "auto"}, False),
        ({"tools": [WEATHER], "tool_choice": "required"}, True),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, True),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": {"type": "json_object"}}, True),
        ({"constraint": {"regex": "[0-9]+"}}, True),
    ],
)
def test_what_forces_a_form_is_a_grammar(fields: dict[str, Any], is_constrained: bool) -> None:
    assert Question(id="1", messages=ASKED, **fields).is_constrained is is_constrained
