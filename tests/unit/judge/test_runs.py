"""Speculative decoding: a run of several tokens says the same as steps of one token each."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH

from cascadia_sglang.judge.calibration import Calibration, PrefixModel, ScoreModel
from cascadia_sglang.judge.device_observer import CopiedStep
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.host_step import host_statistics
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostStep
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from tests.unit.judge.judging import SURE, UNSURE, FakeReq, finish, make_model, make_req, report_of

WIDTH = 5  # the longest run
VALUES = {"sure": SURE, "unsure": UNSURE, "middling": [-0.7, 0.9, 1.5, 2.0, 1.0]}


def model_with(*checkpoints: int) -> ScoreModel:
    """Scores by the mean log-probability, on the way at some numbers of tokens."""
    weights = [1.0 if name == "mean_logprob" else 0.0 for name in FEATURES]
    count = len(FEATURES)
    return ScoreModel(
        Calibration(
            version=3,
            features=list(FEATURES),
            mean=[0.0] * count,
            scale=[1.0] * count,
            weights=weights,
            bias=1.0,
            prefix=[
                PrefixModel(tokens=tokens, weights=weights, bias=1.0, residual_sd=0.3)
                for tokens in checkpoints
            ],
            samples=1,
            constrained_samples=0,
            score_quantiles=[0.0, 1.0],
            report={},
            quantile_samples=1,
        )
    )


def request_with(early_abort: float | None, commit_tokens: int | None) -> FakeReq:
    order = AttemptOrder(
        tier_index=0,
        threshold=0.5,
        early_abort=early_abort,
        earlier_scores=(),
        commit_tokens=commit_tokens,
        commit_chance=0.6,
    )
    request = make_req()
    request.sampling_params.custom_params = {ATTEMPT_KEY: order.to_params()}
    return request


class Answers:
    """Feeds one judge with a request's answer, in runs."""

    def __init__(self, request: FakeReq, record: bool) -> None:
        self.judge = Judge({0: model_with(2, 3, 6)}, record=record)
        self.request = request
        self.tokens = 0

    def run(self, values: list[list[float]], forced: list[bool], width: int, end: Any) -> None:
        """A step of two requests, of which the second has a run of another length."""
        other = make_req()
        rows = torch.full((2 * width, 5), -99.0, dtype=torch.float64)
        rows[width : width + len(values)] = torch.tensor(values, dtype=torch.float64)
        forced_rows = torch.zeros(2 * width, dtype=torch.bool)
        forced_rows[width : width + len(values)] = torch.tensor(forced)
        if end is not None:
            finish(self.request, end)
        commits = [
            CommittedTokens(output_index=0, token_ids=(1,)),
            CommittedTokens(output_index=self.tokens, token_ids=tuple(range(len(values)))),
        ]
        step = CopiedStep(rows, forced_rows, self.judge, None, width)
        requests: Any = [other, self.request]
        self.judge.consume(requests, commits, step)
        self.tokens += len(values)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 14))
    cuts = draw(st.sets(st.integers(1, count - 1))) if count > 1 else set()
    bounds = sorted({0, count, *cuts, *range(0, count, WIDTH)})
    return {
        "values": draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=count, max_size=count)),
        "forced": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "bounds": list(itertools.pairwise(bounds)),
        "reasoning": draw(st.integers(0, count)),
        "end": draw(st.sampled_from(["stop", FINISH_LENGTH(length=count)])),
        "early_abort": draw(st.sampled_from([None, 0.05, 0.5])),
        "commit_tokens": draw(st.sampled_from([None, 2, 4])),
        "record": draw(st.booleans()),
    }


def fed_in_runs(answer: dict[str, Any], bounds: list[tuple[int, int]], width: int) -> Answers:
    request = request_with(answer["early_abort"], answer["commit_tokens"])
    request.reasoning_tokens = answer["reasoning"]
    fed = Answers(request, answer["record"])
    for begin, end in bounds:
        values = [VALUES[name] for name in answer["values"][begin:end]]
        is_last = end == len(answer["values"])
        fed.run(values, answer["forced"][begin:end], width, answer["end"] if is_last else None)
    return fed


@given(answers())
def test_a_split_into_runs_changes_nothing(answer: dict[str, Any]) -> None:
    """The report of the end, the features on the way, the abort and the commitment."""
    count = len(answer["values"])
    singly = fed_in_runs(answer, [(n, n + 1) for n in range(count)], 1)
    in_runs = fed_in_runs(answer, answer["bounds"], WIDTH)
    expected, report = (report_of(fed.judge, fed.request) for fed in (singly, in_runs))
    np.testing.assert_equal(report, expected)


@given(answers())
def test_what_is_said_on_the_way_is_said_by_the_run_that_brings_it(answer: dict[str, Any]) -> None:
    for begin, end in answer["bounds"][:-1]:
        bounds = [pair for pair in answer["bounds"] if pair[1] <= end]
        in_runs = fed_in_runs({**answer, "values": [*answer["values"], "sure"]}, bounds, WIDTH)
        singly = fed_in_runs(
            {**answer, "values": [*answer["values"], "sure"]}, [(n, n + 1) for n in range(end)], 1
        )
        assert begin < end
        assert report_of(in_runs.judge, in_runs.request) == report_of(singly.judge, singly.request)
        assert type(in_runs.request.to_finish) is type(singly.request.to_finish)


def test_an_answer_that_is_ended_within_a_run_takes_no_later_token() -> None:
    fed = Answers(request_with(0.5, None), record=True)
    fed.run([UNSURE, UNSURE, SURE, SURE], [False] * 4, WIDTH, None)
    assert isinstance(fed.request.to_finish, FINISH_ABORT)
    finish(fed.request, fed.request.to_finish)
    report = report_of(fed.judge, fed.request)
    assert report["early_abort"]
    assert report["record"]["tokens"] == [2]


def test_an_answer_that_ends_itself_after_the_judge_ended_it_stays_ended() -> None:
    """In one run; SGLang is not asked to end it again."""
    fed = Answers(request_with(0.5, None), record=False)
    fed.run([UNSURE, UNSURE, SURE], [False] * 3, WIDTH, "stop")
    assert report_of(fed.judge, fed.request)["early_abort"]
    assert fed.request.to_finish is None


@pytest.mark.parametrize("run", [1, 3])
def test_on_a_host_a_run_reads_the_rows_of_its_nodes(run: int) -> None:
    """The nodes of a tree in any order, among those of another request."""
    rng = np.random.default_rng(0)
    logits_BV = (3 * rng.normal(size=(8, 20))).astype(np.float32)
    nodes = [6, 4, 7][:run]
    tokens = [3, 11, 0][:run]
    judge, request = Judge({0: make_model()}, record=True), make_req()
    finish(request)
    nodes_R = np.array([*[-1] * 4, *nodes, *[-1] * (4 - run)])
    none = np.zeros(8, dtype=np.bool_)
    step = HostStep(logits_BV, host_statistics(logits_BV), none, judge, width=4, nodes_R=nodes_R)
    commit = CommittedTokens(output_index=0, token_ids=tuple(tokens))
    other: Any = make_req(tier_index=None)
    requests: Any = [other, request]
    judge.consume(requests, [None, commit], step)

    singly, alone = Judge({0: make_model()}, record=True), make_req()
    for index, (node, token) in enumerate(zip(nodes, tokens, strict=True)):
        if index == run - 1:
            finish(alone)
        one_BV = logits_BV[node : node + 1]
        plain = HostStep(one_BV, host_statistics(one_BV), none[:1], singly)
        one_request: Any = [alone]
        singly.consume(
            one_request, [CommittedTokens(output_index=index, token_ids=(token,))], plain
        )
    assert report_of(judge, request) == report_of(singly, alone)
