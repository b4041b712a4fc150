"""What the judge of a worker says of its requests' answers."""

import logging
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH, Req
from sglang.srt.sampling.sampling_params import SamplingParams

from cascadia_sglang.calibration.fit.feature_summary import summarise_features
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.judge.device_observer import CopiedStep
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.messages import ATTEMPT_KEY, JudgeReport
from tests.unit.judge.judging import (
    SURE,
    UNSURE,
    FakeReq,
    finish,
    make_calibration,
    make_model,
    make_req,
    plain_features,
    report_of,
    step,
)

# Answers


def test_a_finished_answer_has_the_score_of_its_tokens() -> None:
    judge, request = Judge({0: make_model()}), make_req()
    step(judge, (request, SURE))
    finish(request)
    step(judge, (request, UNSURE))
    expected = make_model().score(plain_features([SURE, UNSURE]))
    assert report_of(judge, request) == JudgeReport(score=expected, early_abort=False).to_meta()
    assert expected == pytest.approx(1 / (1 + math.exp(1.55)))


def test_an_answer_on_its_way_has_no_report() -> None:
    judge, request = Judge({0: make_model()}), make_req()
    step(judge, (request, SURE))
    assert report_of(judge, request) is None


def test_the_requests_of_a_batch_do_not_mix() -> None:
    judge, sure, unsure = Judge({0: make_model()}), make_req(), make_req()
    step(judge, (sure, SURE), (unsure, UNSURE))
    finish(sure)
    finish(unsure)
    step(judge, (unsure, UNSURE), (sure, SURE))
    model = make_model()
    assert report_of(judge, sure)["score"] == model.score(plain_features([SURE, SURE]))
    assert report_of(judge, unsure)["score"] == model.score(plain_features([UNSURE, UNSURE]))


def test_rows_of_other_requests_and_of_beams_are_left_out() -> None:
    """A step has a row a request, then those of beam members; the requests may change places."""
    judge, first, second = Judge({0: make_model()}), make_req(), make_req()
    step(judge, (first, SURE), (second, UNSURE))
    values_B5 = torch.tensor([UNSURE, SURE, [-9.0, 9.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    finish(first)
    finish(second)
    requests: Any = [second, first]
    commits = [request.commit() for request in requests]
    judge.consume(requests, commits, CopiedStep(values_B5, None, judge))
    assert report_of(judge, first)["score"] == make_model().score(plain_features([SURE, SURE]))
    assert report_of(judge, second)["score"] == make_model().score(plain_features([UNSURE] * 2))


def test_chunks_of_a_prompt_and_the_step_past_the_end_change_nothing() -> None:
    """Rows without a visible token, before the first and after the last one."""
    judge, request = Judge({0: make_model()}), make_req()
    requests: Any = [request]
    blind = CopiedStep(torch.tensor([UNSURE]), None, judge)
    judge.consume(requests, [None], blind)
    step(judge, (request, SURE))
    finish(request)
    step(judge, (request, SURE))
    judge.consume(requests, [None], blind)
    assert report_of(judge, request)["score"] == make_model().score(plain_features([SURE, SURE]))


def test_a_retracted_request_goes_on_where_it_was() -> None:
    """Its answer so far stays; the step that was thrown away has no commit; it comes back in
    another row of another batch, after its slot went to somebody else."""
    judge, request, other = Judge({0: make_model()}), make_req(), make_req()
    step(judge, (request, SURE))
    requests: Any = [request]
    judge.consume(requests, [None], CopiedStep(torch.tensor([UNSURE]), None, judge))
    step(judge, (other, UNSURE))
    finish(request)
    step(judge, (other, UNSURE), (request, SURE))
    assert report_of(judge, request)["score"] == make_model().score(plain_features([SURE, SURE]))


def test_a_prompt_without_an_answer_has_no_report() -> None:
    """Prefill alone: SGLang samples nothing, so the judge sees no step."""
    judge, request = Judge({0: make_model()}), make_req()
    finish(request, FINISH_LENGTH(length=0))
    assert report_of(judge, request) is None


def test_a_step_without_a_visible_token_counts_for_nothing() -> None:
    judge, request = Judge({0: make_model()}), make_req()
    judge.consume([request], [None], CopiedStep(torch.tensor([UNSURE]), None, judge))  # type: ignore[list-item]
    finish(request)
    step(judge, (request, SURE))
    assert report_of(judge, request)["score"] == make_model().score(plain_features([SURE]))


def test_a_tier_is_judged_by_its_own_calibration() -> None:
    judge = Judge({0: make_model(bias=-2.0), 2: make_model(bias=2.0)})
    first, third = make_req(tier_index=0), make_req(tier_index=2)
    finish(first)
    finish(third)
    step(judge, (first, SURE), (third, SURE))
    assert report_of(judge, first)["score"] < 0.5 < report_of(judge, third)["score"]


@pytest.mark.parametrize("tier_index", [None, 1], ids=["not-the-routers", "no-calibration"])
def test_a_request_that_is_not_judged_has_no_report(tier_index: int | None) -> None:
    judge, request = Judge({0: make_model()}), make_req(tier_index=tier_index)
    finish(request)
    step(judge, (request, SURE))
    assert report_of(judge, request) is None


@pytest.mark.parametrize(
    ("reason", "truncated"), [(FINISH_LENGTH(length=4), True), ("stop", False)], ids=["yes", "no"]
)
def test_the_score_knows_whether_the_answer_was_cut_off(reason: Any, truncated: bool) -> None:
    model = ScoreModel(make_calibration(0, 1.0, truncated=-2.0))
    judge, request = Judge({0: model}), make_req()
    finish(request, reason)
    step(judge, (request, SURE))
    assert report_of(judge, request)["score"] == model.score(plain_features([SURE], truncated))
    assert (report_of(judge, request)["score"] < 0.5) == truncated
    uncut = model.score(plain_features([SURE])) if truncated else None
    assert report_of(judge, request)["uncut_score"] == uncut


@pytest.mark.parametrize(
    ("earlier_scores", "expected"),
    [
        ((0.9, 0.5), 0.9),
        ((0.9, None), 1 / (1 + math.exp(-math.log(9) - 2))),
        ((None, None), 1 / (1 + math.exp(-2))),
    ],
    ids=["known", "second-unknown", "both-unknown"],
)
def test_the_score_knows_the_scores_of_all_tiers_before(
    earlier_scores: tuple[float | None, ...], expected: float
) -> None:
    calibration = make_calibration(2, 0.0, tier_0_logit=1.0, tier_1_logit=1.0, tier_1_unknown=2.0)
    judge = Judge({2: ScoreModel(calibration)})
    request = make_req(2, earlier_scores=earlier_scores)
    finish(request)
    step(judge, (request, SURE))
    assert report_of(judge, request)["score"] == pytest.approx(expected)


def test_an_answer_that_cannot_be_rated_has_a_report_without_a_score() -> None:
    judge, request = Judge({0: make_model()}), make_req()
    finish(request)
    step(judge, (request, [math.nan, 1.0, 1.0, 1.0, 1.0]))
    assert report_of(judge, request) == JudgeReport(score=None, early_abort=False).to_meta()


# Grammars


def forced_step(judge: Judge, request: FakeReq, values: list[float], is_forced: bool) -> None:
    requests: Any = [request]
    values_B5 = torch.tensor([values], dtype=torch.float64)
    step = CopiedStep(values_B5, torch.tensor([is_forced]), judge)
    judge.consume(requests, [request.commit()], step)


def test_forced_steps_are_a_share_and_in_no_statistic() -> None:
    judge, request = Judge({0: make_model()}, record=True), make_req()
    for is_forced in (True, False, True):
        forced_step(judge, request, UNSURE if is_forced else SURE, is_forced)
    finish(request)
    forced_step(judge, request, SURE, False)
    expected = plain_features([SURE, SURE])
    expected[FEATURES.index("forced_share")] = 0.5
    expected[FEATURES.index("log_tokens")] = math.log(4)
    assert report_of(judge, request)["record"]["features"][-1] == expected.tolist()


def test_an_answer_that_is_forced_throughout_has_no_score() -> None:
    judge, request = Judge({0: make_model()}), make_req()
    finish(request)
    forced_step(judge, request, SURE, True)
    assert report_of(judge, request)["score"] is None


@pytest.mark.parametrize("seen", [0, 99, 100])
def test_an_answer_under_a_grammar_is_rated_by_a_calibration_that_knows_enough_of_them(
    seen: int,
) -> None:
    calibration = msgspec.structs.replace(
        make_calibration(0, 1.0), samples=500, constrained_samples=seen
    )
    judge, request = Judge({0: ScoreModel(calibration)}, record=True), make_req()
    request.sampling_params.regex = "[0-9]+"
    finish(request)
    step(judge, (request, SURE))
    report = report_of(judge, request)
    assert (report["score"] is not None) == (seen >= 100)
    assert report["record"] is not None


# Reasoning


def reason(judge: Judge, steps: list[tuple[list[float], bool]]) -> Any:
    """Report of an answer whose steps say whether they are still reasoning."""
    request = make_req()
    for number, (values, is_reasoning) in enumerate(steps):
        request.reasoning_tokens += is_reasoning  # SGLang counts before the judge is called
        if number == len(steps) - 1:
            finish(request)
        step(judge, (request, values))
    return report_of(judge, request)


THOUGHTFUL = [(UNSURE, True), (UNSURE, True), (SURE, False), (SURE, False)]


def test_the_reasoning_before_an_answer_is_left_out() -> None:
    report = reason(Judge({0: make_model()}, record=True), THOUGHTFUL)
    assert report["score"] == make_model().score(plain_features([SURE, SURE]))
    assert report["record"]["tokens"] == [2]


def test_the_reasoning_counts_where_all_is_judged() -> None:
    report = reason(Judge({0: make_model()}, counts_reasoning=True), THOUGHTFUL)
    assert report["score"] == make_model().score(plain_features([UNSURE] * 2 + [SURE] * 2))


def test_reasoning_that_comes_to_no_answer_has_no_score() -> None:
    report = reason(Judge({0: make_model()}), [(SURE, True), (SURE, True)])
    assert report == JudgeReport(score=None, early_abort=False).to_meta()


def test_reasoning_ends_where_sglang_says() -> None:
    """Its own request, which counts up to the end of the end-of-thinking tokens."""
    params = SamplingParams(max_new_tokens=8)
    params.custom_params = make_req().sampling_params.custom_params
    request = Req("rid", "", [1, 2, 3], params, vocab_size=64, require_reasoning=True)
    judge = Judge({0: make_model()})
    for position, (token, values) in enumerate(
        [(5, UNSURE), (60, UNSURE), (61, UNSURE), (6, SURE), (60, SURE)]
    ):
        request.output_ids.append(token)
        request.update_reasoning_tokens(token, [60, 61])
        if position == 4:
            request.finished_reason = FINISH_LENGTH(length=5)
        commit = CommittedTokens(output_index=position, token_ids=(token,))
        values_B5 = torch.tensor([values], dtype=torch.float64)
        judge.consume([request], [commit], CopiedStep(values_B5, None, judge))
    assert report_of(judge, request)["score"] == make_model().score(
        plain_features([SURE, SURE], truncated=True)
    )


# Features for the watch


def test_features_are_reported_where_the_calibration_has_a_summary_of_them() -> None:
    summary = summarise_features(np.random.default_rng(0).normal(size=(200, len(FEATURES))))
    calibration = msgspec.structs.replace(make_calibration(0, 1.0), feature_summary=summary)
    for model, expected in (
        (ScoreModel(calibration), plain_features([SURE, SURE]).tolist()),
        (ScoreModel(make_calibration(0, 1.0)), None),
    ):
        judge, request = Judge({0: model}), make_req()
        step(judge, (request, SURE))
        finish(request)
        step(judge, (request, SURE))
        report = report_of(judge, request)
        assert report.get("features") == expected
        assert JudgeReport.from_meta(report).features == expected


# Recording


def test_a_recorded_answer_carries_its_features_at_powers_of_two_and_at_its_end() -> None:
    judge, request = Judge({}, record=True), make_req()
    answer = [[-0.1 * n, 0.2 * n, 3.0, 4.0, 1.0] for n in range(11)]
    for number, values in enumerate(answer):
        if number == 10:
            finish(request, FINISH_LENGTH(length=11))
        step(judge, (request, values))
    report = report_of(judge, request)
    assert (report["score"], report["early_abort"]) == (None, False)
    assert report["record"]["tokens"] == [2, 4, 8, 11]
    expected = [plain_features(answer[:tokens], tokens == 11) for tokens in (2, 4, 8, 11)]
    np.testing.assert_array_equal(report["record"]["features"], expected)


@pytest.mark.parametrize("model", [None, make_model()], ids=["unjudged", "judged"])
def test_every_token_is_recorded_where_that_is_asked(model: ScoreModel | None) -> None:
    judge = Judge({} if model is None else {0: model}, record="every_token")
    request = make_req(threshold=0.9)
    answer = [[-0.1 * n, 0.2 * n, 3.0, 4.0, 1.0] for n in range(5)]
    for number, values in enumerate(answer):
        if number == 4:
            finish(request)
        step(judge, (request, values))
    record = report_of(judge, request)["record"]
    assert record["tokens"] == [1, 2, 3, 4, 5]
    expected = [plain_features(answer[:tokens]) for tokens in record["tokens"]]
    np.testing.assert_array_equal(record["features"], expected)


@pytest.mark.parametrize("tokens", [1, 4])
def test_the_end_of_a_recorded_answer_is_there_once(tokens: int) -> None:
    judge, request = Judge({0: make_model()}, record=True), make_req()
    for number in range(tokens):
        if number == tokens - 1:
            finish(request)
        step(judge, (request, SURE))
    report = report_of(judge, request)
    assert report["record"]["tokens"] == ([1] if tokens == 1 else [2, 4])
    assert report["score"] == make_model().score(plain_features([SURE] * tokens))


def test_recording_ends_nothing_early_where_nobody_asked() -> None:
    judge, request = Judge({0: make_model()}, record=True), make_req(threshold=0.9)
    for _ in range(4):
        step(judge, (request, UNSURE))
    assert request.to_finish is None


# Early abort


def test_a_hopeless_attempt_is_ended_at_its_checkpoint() -> None:
    judge, request = Judge({0: make_model()}), make_req(threshold=0.9, early_abort=0.05)
    step(judge, (request, UNSURE))
    assert request.to_finish is None
    step(judge, (request, UNSURE))
    assert isinstance(request.to_finish, FINISH_ABORT)
    finish(request, request.to_finish)
    report = report_of(judge, request)
    assert report["early_abort"]
    assert report["score"] < 0.05


def test_tokens_after_an_early_abort_change_nothing() -> None:
    judge, request = Judge({0: make_model()}), make_req(threshold=0.9, early_abort=0.05)
    step(judge, (request, UNSURE))
    step(judge, (request, UNSURE))
    finish(request, request.to_finish)
    before = report_of(judge, request)
    step(judge, (request, SURE))
    assert report_of(judge, request) == before


@pytest.mark.parametrize(
    ("values", "early_abort", "threshold"),
    [(SURE, 0.05, 0.4), (UNSURE, None, 0.9), (UNSURE, 0.05, 0.001)],
    ids=["hopeful", "not-asked-for", "low-threshold"],
)
def test_an_attempt_goes_on_where_it_has_a_chance_or_nobody_asked(
    values: list[float], early_abort: float | None, threshold: float
) -> None:
    judge = Judge({0: make_model()})
    request = make_req(threshold=threshold, early_abort=early_abort)
    for _ in range(4):
        step(judge, (request, values))
    assert request.to_finish is None


def test_an_attempt_that_finishes_at_its_checkpoint_is_rated_not_ended() -> None:
    judge, request = Judge({0: make_model()}), make_req(threshold=0.9, early_abort=0.05)
    step(judge, (request, UNSURE))
    finish(request)
    step(judge, (request, UNSURE))
    assert request.to_finish is None
    assert not report_of(judge, request)["early_abort"]


# Failures


def test_a_failing_judge_fails_no_request_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge, request = Judge({0: make_model()}), make_req()
    broken = CopiedStep(torch.zeros(1, 2), None, judge)  # too few columns
    for _ in range(3):
        broken.consume(SimpleNamespace(reqs=[request]), [request.commit()])  # type: ignore[arg-type]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "without a score" in caplog.text
    assert report_of(judge, request) is None


def test_an_answer_that_lacks_a_step_has_no_score() -> None:
    """The score of its other tokens would be one of another answer."""
    judge, request, later = Judge({0: make_model()}), make_req(), make_req()
    step(judge, (request, SURE))
    broken = CopiedStep(torch.zeros(1, 2), None, judge)  # too few columns
    broken.consume(SimpleNamespace(reqs=[request]), [request.commit()])  # type: ignore[arg-type]
    finish(request)
    finish(later)
    step(judge, (request, SURE), (later, SURE))
    assert report_of(judge, request) is None
    assert report_of(judge, later)["score"] is not None


def test_a_step_that_cannot_be_folded_costs_no_request_without_a_token_in_it() -> None:
    judge, request, waiting = Judge({0: make_model()}), make_req(), make_req()
    step(judge, (request, SURE), (waiting, SURE))
    broken = CopiedStep(torch.zeros(2, 2), None, judge)  # too few columns
    batch: Any = SimpleNamespace(reqs=[request, waiting])
    broken.consume(batch, [request.commit(), None])
    finish(waiting)
    step(judge, (waiting, SURE))
    assert report_of(judge, request) is None
    assert report_of(judge, waiting)["score"] is not None


def test_an_order_that_cannot_be_read_costs_no_other_request_its_score() -> None:
    judge, odd, request = Judge({0: make_model()}), make_req(), make_req()
    odd.sampling_params.custom_params[ATTEMPT_KEY] = {"tier_index": 0}
    finish(odd)
    finish(request)
    step(judge, (odd, SURE), (request, SURE))
    assert report_of(judge, odd) is None
    assert report_of(judge, request)["score"] == make_model().score(plain_features([SURE]))


def test_an_attempt_may_ask_for_its_own_features_beside_one_that_does_not() -> None:
    judge, recorded, other = Judge({0: make_model()}), make_req(record=True), make_req()
    finish(recorded)
    finish(other)
    step(judge, (recorded, SURE), (other, SURE))
    report = report_of(judge, recorded)
    assert report["record"]["tokens"] == [1]
    assert report["record"]["features"][-1] == plain_features([SURE]).tolist()
    assert report_of(judge, other)["record"] is None
    assert report["score"] == report_of(judge, other)["score"]
