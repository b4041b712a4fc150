"""When the judge commits to an answer before its end."""

from typing import Any

import pytest

from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from tests.unit.judge.judging import (
    SURE,
    UNSURE,
    FakeReq,
    finish,
    make_model,
    report_of,
    step,
)


def make_req(**order: Any) -> FakeReq:
    values = {"tier_index": 0, "threshold": 0.5, "early_abort": 0.05, "earlier_scores": ()}
    attempt = AttemptOrder(**{**values, "commit_tokens": 2, "commit_chance": 0.9, **order})
    sampling: Any = type("Sampling", (), {"custom_params": {ATTEMPT_KEY: attempt.to_params()}})
    return FakeReq(sampling)


def steps(judge: Judge, request: FakeReq, *tokens: list[float]) -> None:
    for values in tokens:
        step(judge, (request, values))


def test_it_commits_at_a_checkpoint_whose_chance_holds() -> None:
    judge, request = Judge({0: make_model(bias=3.0)}), make_req()
    steps(judge, request, SURE)
    assert report_of(judge, request) is None
    steps(judge, request, SURE)
    assert report_of(judge, request)["committed"]
    assert report_of(judge, request)["score"] >= 0.9
    steps(judge, request, SURE)
    # Said again, for the receiver may merge outputs.
    assert report_of(judge, request)["committed"]


@pytest.mark.parametrize(
    "order",
    [{"commit_tokens": 3}, {"commit_tokens": None}, {"threshold": 0.99}],
    ids=["too-early", "not-asked", "too-uncertain"],
)
def test_it_does_not_commit_before_it_may(order: dict[str, Any]) -> None:
    judge, request = Judge({0: make_model(bias=3.0)}), make_req(early_abort=None, **order)
    steps(judge, request, SURE, SURE)
    assert report_of(judge, request) is None


def test_an_answer_that_is_committed_to_is_never_ended() -> None:
    """At a later checkpoint its chance would be below the bound."""
    judge, request = Judge({0: make_model(bias=3.0)}), make_req()
    steps(judge, request, SURE, SURE, UNSURE, UNSURE, UNSURE)
    assert request.to_finish is None
    finish(request)
    steps(judge, request, UNSURE)
    assert report_of(judge, request)["committed"]
    assert not report_of(judge, request)["early_abort"]


def test_a_hopeless_one_is_still_ended() -> None:
    judge, request = Judge({0: make_model()}), make_req(threshold=0.9)
    steps(judge, request, UNSURE, UNSURE)
    assert request.to_finish is not None
    finish(request, request.to_finish)
    assert "committed" not in report_of(judge, request)
