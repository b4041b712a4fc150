"""The bench that counts the steps of recorded answers."""

from random import Random

import pytest

from bench.drafts.replay import (
    cases,
    made_up,
    measured,
    pairs_by_set,
    steps_of_followed,
    steps_of_prefix,
)

ANSWER = list(range(100, 141))


@pytest.mark.parametrize("window", [2, 4, 8, 16])
def test_a_perfect_draft_gives_a_whole_window_a_step(window: int) -> None:
    """After the first token, which the prefill gives."""
    steps = 1 + -(-(len(ANSWER) - 1) // window)
    assert steps_of_followed(ANSWER, ANSWER, window) == steps


def test_without_a_right_token_every_token_takes_a_step() -> None:
    assert steps_of_prefix([1, 2, 3], ANSWER) == len(ANSWER)
    assert steps_of_followed([1, 2, 3], ANSWER, 8) == len(ANSWER)
    assert steps_of_followed(ANSWER, ANSWER, 1) == len(ANSWER)


def test_a_prefix_ends_at_the_first_difference_and_a_followed_draft_does_not() -> None:
    draft = [*ANSWER[:10], 7, *ANSWER[11:]]
    assert steps_of_prefix(draft, ANSWER) == len(ANSWER) - 10
    assert steps_of_followed(draft, ANSWER, 8) <= 8


def test_a_prompt_is_looked_up_where_there_is_no_draft() -> None:
    assert steps_of_followed((), ANSWER, 8, prompt=ANSWER) <= 10
    assert steps_of_followed((), ANSWER, 8) == len(ANSWER)


def test_a_whole_draft_is_read_in_one_step() -> None:
    assert steps_of_prefix(ANSWER, ANSWER) == 1


def test_recorded_answers_are_compared_question_by_question() -> None:
    stored = made_up()
    Random(1).shuffle(stored)
    pairs_by_name = pairs_by_set(stored, "small", "large", lambda _: ())
    assert {name: len(pairs) for name, pairs in pairs_by_name.items()} == {"made": 20}
    assert [name for name, _ in cases(pairs_by_name)] == ["made", "made, the draft is wrong"]
    steps = dict(measured(pairs_by_name["made"]))
    assert steps["found again, window 8"].p50 < steps["read as a prefix"].p50 < 1.0
    assert steps["a perfect draft, window 8"].p50 < steps["found again, window 8"].p50
