"""The built-in rank: surer answers rank higher, and length does not decide."""

from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.rank import rank_model
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
