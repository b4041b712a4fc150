"""Whether an answer is that of a quiet server."""

import json
from pathlib import Path

import pytest

from bench.soak.answers import ABORTED, CUT, ENDED, Choice
from bench.soak.quiet_answers import is_same, load

ANSWERS = {"small": {"p": ("abc", True)}, "large": {"p": ("abcdefgh", False)}}


@pytest.mark.parametrize(
    ("tier", "choice", "same"),
    [
        ("small", Choice("abc", ENDED), True),
        ("small", Choice("ab", ENDED), False),
        ("small", Choice("ab", CUT), True),
        ("small", Choice("ax", CUT), False),
        ("small", Choice("abcd", CUT), False),
        ("small", Choice("ab", ABORTED), False),
        ("large", Choice("abcd", CUT), True),
        # A quiet server's answer was cut, so nobody knows how it ends.
        ("large", Choice("abcdefgh", ENDED), False),
        (None, Choice("abcd", CUT), True),
        (None, Choice("abc", ENDED), True),
        (None, Choice("x", ENDED), False),
    ],
)
def test_an_answer_is_its_tiers_own_or_the_beginning_of_it(
    tier: str | None, choice: Choice, same: bool
) -> None:
    assert is_same(ANSWERS, "p", tier, choice) is same


def test_answers_that_were_kept_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    assert load(path) is None
    path.write_text(json.dumps(ANSWERS))
    assert load(path) == ANSWERS
