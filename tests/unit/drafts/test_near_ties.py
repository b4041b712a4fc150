"""Where two answers part, and how near a tie the model is there."""

import pytest

from bench.drafts.near_ties import first_difference, scored


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ((1, 2, 3), (1, 2, 3), None),
        ((1, 2, 3), (1, 5, 3), 1),
        ((1, 2), (1, 2, 3), 2),
        ((), (4,), 0),
        ((), (), None),
    ],
)
def test_answers_part_at_the_first_token_that_one_has_alone(first, second, place):
    assert first_difference(first, second) == place
    assert first_difference(second, first) == place


def _meta(answer):
    """As SGLang lists it: the prompt's last token first, without a log-probability."""
    first, second = answer
    top = [[-0.1, first, None], [-2.5, 9, None]]
    tie = [[-0.7, 8, None], [-0.75, second, None]]
    asked = [
        [[-0.1, first, None], [-7.0, 7, None]],
        [[-0.75, second, None], [-4.0, 7, None]],
    ]
    return {
        "input_token_logprobs": [[None, 3, None], [-0.1, first, None], [-0.75, second, None]],
        "input_top_logprobs": [None, top, tie],
        "input_token_ids_logprobs": [None, *asked],
    }


def test_a_place_is_as_near_a_tie_as_its_best_token_is_to_the_less_likely_one():
    rated = scored((5, 6), _meta((5, 6)))
    assert rated.gaps == pytest.approx([2.4, 0.05])
    assert rated.gap_to(0, [5, 7]) == pytest.approx(6.9)
    assert rated.gap_to(1, [6, 8]) == pytest.approx(0.05)
    assert rated.gap_to(1, [8]) == 0.0


def test_log_probabilities_of_other_tokens_are_refused():
    with pytest.raises(ValueError, match=r"log-probabilities are of \[5, 6\], asked: \[5, 4\]"):
        scored((5, 4), _meta((5, 6)))


def test_a_token_that_was_not_asked_for_is_not_guessed():
    rated = scored((5, 6), _meta((5, 6)))
    with pytest.raises(KeyError):
        rated.gap_to(0, [1])
