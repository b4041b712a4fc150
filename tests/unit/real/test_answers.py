"""Stored answers: features again from the values of every token, the same bytes every time."""

from pathlib import Path

import numpy as np
import pytest

from bench.real.answers import (
    Answer,
    load_answers,
    packed,
    save_answers,
    step_values,
)
from cascadia_kernels.layout import STEP_VALUES
from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.judge.features import features_of
from cascadia_sglang.judge.state import NO_ROW, empty_states, fold_step

PROMPT_TOKENS = 37


def features_after(values_TD: FloatArray, tokens: int, is_truncated: bool) -> FloatArray:
    """As a worker computes them, fold by fold."""
    states = empty_states(1)
    for row in range(tokens):
        fold_step(states, np.array([0]), np.array([row]), values_TD, NO_ROW)
    truncated = is_truncated and tokens == len(values_TD)
    return features_of(states, np.array([[0, PROMPT_TOKENS, truncated]]))[0]


def answer_of(tokens: int, *, is_truncated: bool, seed: int = 0) -> tuple[Answer, FloatArray]:
    """An answer as it is recorded, and its step values [T, D]."""
    rng = np.random.default_rng(seed)
    values_TD = rng.gamma(1.0, 1.0, (tokens, len(STEP_VALUES))).astype(np.float32).astype(float)
    values_TD[:, STEP_VALUES.index("logprob")] *= -1
    values_TD[:, STEP_VALUES.index("known")] = 1.0
    features = [features_after(values_TD, n, is_truncated).tolist() for n in range(1, tokens + 1)]
    answer = Answer(
        id=f"q{seed}",
        model="m",
        asked="d",
        temperature=0.0,
        text="Words  here",
        output_ids=list(range(tokens)),
        values=step_values(features),
        prompt_tokens=PROMPT_TOKENS,
        is_truncated=is_truncated,
        seconds=1.23456,
    )
    return answer, values_TD


@pytest.mark.parametrize("is_truncated", [True, False])
@pytest.mark.parametrize("tokens", [1, 2, 9, 40])
def test_features_are_those_that_were_recorded(tokens: int, is_truncated: bool) -> None:
    answer, values_TD = answer_of(tokens, is_truncated=is_truncated)
    stored = packed(answer, right=True)
    for count in range(1, tokens + 1):
        expected = features_after(values_TD, count, is_truncated)
        np.testing.assert_allclose(stored.features(count), expected, rtol=2e-4, atol=2e-4)
    assert np.array_equal(stored.features(), stored.features(tokens))


def test_a_feature_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        step_values([[None] * 16])


def test_the_file_gives_back_what_went_in_and_has_no_text(tmp_path: Path) -> None:
    answers = [packed(answer_of(5, is_truncated=False, seed=n)[0], None) for n in (2, 1)]
    save_answers(answers, tmp_path / "one.gz")
    save_answers(answers[::-1], tmp_path / "other.gz")
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()
    loaded = load_answers(tmp_path / "one.gz")
    assert loaded == answers[::-1]
    assert not hasattr(loaded[0], "text")
    assert answers[0].text_key == packed(answer_of(3, is_truncated=True)[0], True).text_key


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none\.gz is missing: bench\.real\.record makes it"):
        load_answers(tmp_path / "none.gz")
