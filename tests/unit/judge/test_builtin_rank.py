"""The built-in rank: surer answers rank higher, and length does not decide."""

import math

import numpy as np
import pytest

from cascadia_sglang.judge.builtin_rank import WEIGHTS, rank_model
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.judge import Judge
from tests.unit.judge.judging import (
    SURE,
    UNSURE,
    finish,
    make_req,
    plain_features,
    report_of,
    step,
)


def test_a_surer_answer_ranks_higher() -> None:
    model = rank_model()
    sure, mixed, unsure = (
        model.score(plain_features(steps))
        for steps in ([SURE] * 4, [SURE, SURE, UNSURE, SURE], [UNSURE] * 4)
    )
    assert 0.0 < unsure < mixed < sure < 1.0


@pytest.mark.parametrize("step_values", [SURE, UNSURE], ids=["sure", "unsure"])
@pytest.mark.parametrize("truncated", [False, True])
def test_more_tokens_of_equal_certainty_leave_the_rank_where_it_was(
    step_values: list[float], truncated: bool
) -> None:
    model = rank_model()
    ranks = [model.score(plain_features([step_values] * n, truncated)) for n in (2, 20, 200)]
    assert ranks == pytest.approx([ranks[0]] * 3, abs=1e-9)


def test_an_answers_length_moves_a_rank_less_than_one_weak_token_does() -> None:
    model = rank_model()
    mixed = [SURE, SURE, UNSURE, SURE]
    once, often = model.score(plain_features(mixed)), model.score(plain_features(mixed * 20))
    assert once == pytest.approx(often, abs=1e-9)
    assert model.score(plain_features([SURE] * 4)) - once > 0.1


def test_the_prompts_length_and_the_answers_have_no_weight() -> None:
    assert not set(WEIGHTS) & {"log_tokens", "log_prompt_tokens", "sum_logprob", "sequence_logit"}
    features_F = plain_features([SURE, UNSURE])
    longer_F = features_F.copy()
    longer_F[FEATURES.index("log_prompt_tokens")] += 5.0
    assert rank_model().score(longer_F) == rank_model().score(features_F)


def test_an_answer_that_was_only_forced_has_no_rank() -> None:
    assert math.isnan(rank_model().score(np.full(len(FEATURES), np.nan)))


def test_an_answer_under_a_grammar_is_ranked() -> None:
    assert rank_model().judges_constrained


def test_nothing_is_ended_or_committed_early_by_rank() -> None:
    judge, request = Judge({0: rank_model()}), make_req(early_abort=1.0, threshold=1.0)
    for _ in range(40):
        step(judge, (request, UNSURE))
        assert request.to_finish is None
        assert report_of(judge, request) is None
    finish(request)
    step(judge, (request, UNSURE))
    report = report_of(judge, request)
    assert 0.0 < report["score"] < 1.0
    assert not report["early_abort"]
