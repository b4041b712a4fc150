"""How the soak tells a stream that ended well from one that did not."""

import json
from typing import Any

import pytest

from bench.router.soak_requests import _end_of_stream


def output(text: str, finish: str | None = None, tier: str | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"finish_reason": {"type": finish} if finish else None}
    return {"text": text, "meta_info": meta | ({"cascadia": {"tier": tier}} if tier else {})}


ERROR = {"error": {"message": "the answer is incomplete"}}
LAST = output("ab", "stop", "small")


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([output("a"), LAST], "answered"),
        ([LAST], "answered"),
        ([output("a"), ERROR], "error"),
        ([output("a")], "broken: no answer"),
        ([LAST, LAST], "twice"),
        ([LAST, ERROR], "twice"),
        ([output("x"), LAST], "broken: the answer changed after it was seen"),
    ],
)
def test_a_stream_ends_in_one_answer_or_one_error(events: list[Any], what: str) -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    assert _end_of_stream("".join(lines) + "data: [DONE]\n\n") == what


def test_a_stream_that_breaks_off_is_broken() -> None:
    assert _end_of_stream(f"data: {json.dumps(LAST)}\n\n") == "broken: no end"
