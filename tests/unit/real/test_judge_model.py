"""The judge model's score from the likeliest first tokens of its reply."""

import math

import pytest

from bench.real.judge_model import probability_of_yes


def top(**probabilities: float) -> list[dict[str, object]]:
    return [{"token": token, "logprob": math.log(p)} for token, p in probabilities.items()]


def test_every_spelling_of_both_words_counts() -> None:
    said = top(yes=0.2, Yes=0.4, no=0.1, other=0.3)
    said.append({"token": " No", "logprob": math.log(0.05)})
    assert probability_of_yes(said) == pytest.approx(0.6 / 0.75)


def test_without_either_word_nothing_is_known() -> None:
    assert probability_of_yes(top(maybe=1.0)) == 0.5
    assert probability_of_yes([]) == 0.5
