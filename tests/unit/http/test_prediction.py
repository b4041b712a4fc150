"""OpenAI's `prediction` in the body of a chat request."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.http.prediction import MOST_CHARACTERS, predicted_text


def request(**fields: Any) -> Any:
    return SimpleNamespace(_body=json.dumps({"model": "x", **fields}).encode())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("an answer", "an answer"),
        ([{"type": "text", "text": "an "}, {"type": "text", "text": "answer"}], "an answer"),
        ("", ""),
        ([], ""),
    ],
)
def test_the_text_is_that_of_the_content(content: Any, text: str) -> None:
    predicted = predicted_text(request(prediction={"type": "content", "content": content}))
    assert predicted == text


@pytest.mark.parametrize(
    "fields",
    [{}, {"prediction": None}, {"messages": [{"content": 'a "prediction"'}]}],
    ids=["absent", "null", "in-a-message"],
)
def test_without_the_field_there_is_none(fields: dict[str, Any]) -> None:
    assert predicted_text(request(**fields)) is None


def test_a_request_whose_body_was_not_read_has_none() -> None:
    assert predicted_text(SimpleNamespace()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prediction",
    [
        "text",
        7,
        [],
        {"type": "content"},
        {"type": "content", "content": 7},
        {"type": "other", "content": "x"},
        {"type": "content", "content": [{"type": "image_url"}]},
        {"type": "content", "content": ["x"]},
        {"type": "content", "content": [{"type": "text", "text": None}]},
    ],
    ids=json.dumps,
)
def test_another_form_is_refused_with_what_is_allowed(prediction: Any) -> None:
    with pytest.raises(RequestError, match=r"prediction is .*, allowed: ") as raised:
        predicted_text(request(prediction=prediction))
    assert raised.value.status == 400
    assert json.dumps(prediction) in str(raised.value)


def test_a_long_text_is_cut() -> None:
    content = "ab" * MOST_CHARACTERS
    predicted = predicted_text(request(prediction={"type": "content", "content": content}))
    assert predicted == content[:MOST_CHARACTERS]


def test_a_long_one_is_shown_in_part() -> None:
    with pytest.raises(RequestError) as raised:
        predicted_text(request(prediction={"type": "content", "content": [7] * 1000}))
    assert len(str(raised.value)) < 250
