"""The judge in a worker: what it takes from sampling steps, and what it says of an answer."""

import logging
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import xgrammar
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.managers.schedule_batch import FINISH_ABORT, FINISH_LENGTH, Req
from sglang.srt.sampling.sampling_observer_pp import (
    add_auxiliary_output_to_pp_tensors,
    pop_auxiliary_output_from_pp_tensors,
)
from sglang.srt.sampling.sampling_params import SamplingParams

from cascadia_kernels import STEP_VALUES
from cascadia_kernels.testing import make_logits
from cascadia_patches import model_runner_init
from cascadia_sglang.judge.calibration import Calibration, PrefixModel, ScoreModel
from cascadia_sglang.judge.features import FEATURES, earlier_names, features
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import (
    CopiedStep,
    DeviceObserver,
    HostObserver,
    forced_rows,
)
from cascadia_sglang.judge.state import FloatArray, empty_states, fold_step
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder, JudgeReport

F = len(FEATURES)
SURE, UNSURE = [-0.1, 0.2, 3.0, 4.0, 1.0], [-3.0, 2.0, 0.1, 0.5, 1.0]


def make_model(bias: float = 0.0, weight: float = 1.0) -> ScoreModel:
    """Scores by the mean log-probability alone, after 2 tokens too."""
    weights = [weight if name == "mean_logprob" else 0.0 for name in FEATURES]
    return ScoreModel(
        Calibration(
            version=2,
            features=list(FEATURES),
            mean=[0.0] * F,
            scale=[1.0] * F,
            weights=weights,
            bias=bias,
            prefix=[PrefixModel(tokens=2, weights=weights, bias=bias, residual_sd=0.1)],
            samples=1,
            constrained_samples=0,
            score_quantiles=[0.0, 1.0],
            report={},
        )
    )


@dataclass(eq=False)
class FakeReq:
    """What the judge needs of SGLang's `Req`."""

    sampling_params: Any
    origin_input_ids: list[int] = field(default_factory=lambda: [1, 2, 3])
    finished_reason: Any = None
    to_finish: Any = None
    reasoning_tokens: int = 0
    visible_tokens: int = 0

    def commit(self) -> CommittedTokens:
        """A visible token more."""
        self.visible_tokens += 1
        return CommittedTokens(output_index=self.visible_tokens - 1, token_ids=(7,))

    def finished(self) -> bool:
        return self.finished_reason is not None


def make_req(
    tier_index: int | None = 0,
    threshold: float = 0.5,
    early_abort: float | None = None,
    earlier_scores: tuple[float | None, ...] = (),
) -> FakeReq:
    """A request that the router sent; one of someone else's where the tier is None."""
    if tier_index is None:
        return FakeReq(SimpleNamespace(custom_params=None))
    order = AttemptOrder(
        tier_index=tier_index,
        threshold=threshold,
        early_abort=early_abort,
        earlier_scores=earlier_scores,
    )
    return FakeReq(SimpleNamespace(custom_params={ATTEMPT_KEY: order.to_params()}))


def step(judge: Judge, *pairs: tuple[FakeReq, list[float]]) -> None:
    """One decoding step in which every request gets a visible token."""
    requests: Any = [request for request, _ in pairs]
    values_B5 = torch.tensor([values for _, values in pairs], dtype=torch.float64)
    commits = [request.commit() for request in requests]
    judge.consume(requests, commits, CopiedStep(values_B5, None, judge))


def finish(request: FakeReq, reason: Any = "stop") -> None:
    request.finished_reason = reason


def report_of(judge: Judge, request: Any) -> Any:
    (found,) = judge.reports([request])
    return found[0] if found else None


def plain_features(answer: list[list[float]], truncated: bool = False) -> FloatArray:
    states_NS = empty_states(1)
    for values in answer:
        fold_step(states_NS, np.array([0]), np.array([values]))
    row: FloatArray = features(states_NS, np.array([3.0]), np.array([float(truncated)]))[0]
    return row


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


def make_calibration(earlier_tiers: int, bias: float, **weights: float) -> Calibration:
    """A calibration with a few weights on raw columns, and no prefix model."""
    names = [*FEATURES, *earlier_names(earlier_tiers)]
    return Calibration(
        version=2,
        features=names,
        mean=[0.0] * len(names),
        scale=[1.0] * len(names),
        weights=[weights.get(name, 0.0) for name in names],
        bias=bias,
        prefix=[],
        samples=1,
        constrained_samples=0,
        score_quantiles=[0.0, 1.0],
        report={},
    )


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


MASKS = {
    "packed": torch.tensor([[0b0101, -1], [-1, -1], [-(2**31), 0b10]], dtype=torch.int32),
    "bools": torch.tensor([[i not in (0, 2) for i in range(64)], [False] * 64, [False] * 64]),
}
MASKS["bools"][2] = torch.tensor([i not in (31, 33) for i in range(64)])


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_a_row_is_forced_where_the_mask_forbids_its_likeliest_token(mask: torch.Tensor) -> None:
    """The two forms in which SGLang's grammar backends fill a mask."""
    assert forced_rows(mask, torch.tensor([0, 9, 31])).tolist() == [False, False, False]
    assert forced_rows(mask, torch.tensor([1, 63, 33])).tolist() == [True, False, False]
    assert forced_rows(mask, torch.tensor([3, 0, 32])).tolist() == [True, False, True]


def test_a_column_that_a_packed_mask_does_not_cover_is_not_forced() -> None:
    assert forced_rows(MASKS["packed"], torch.tensor([64, 70, 64])).tolist() == [False] * 3


@pytest.mark.parametrize("observer", [HostObserver, DeviceObserver])
def test_an_observer_sees_the_mask_before_sglang_drops_it(observer: Any) -> None:
    """With xgrammar's own mask and its application to the logits."""
    logits_BV = make_logits(2, 64)
    top_B = logits_BV.argmax(dim=-1)
    mask = xgrammar.allocate_token_bitmask(2, 64)
    top = int(top_B[1])
    mask.numpy().view(np.uint32)[1, top // 32] &= ~np.uint32(1 << top % 32)
    info = make_info(
        2,
        grammar_mask=SimpleNamespace(vocab_mask=mask),
        grammars=[object(), object()],
    )
    seen = observer(Judge({})).before_grammar(logits_BV, info)
    xgrammar.apply_token_bitmask_inplace(logits_BV, mask)
    assert (logits_BV.argmax(dim=-1) == top_B).tolist() == [True, False]
    assert seen.forced_B.tolist() == [False, True]


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


def test_a_failing_observer_skips_the_step() -> None:
    observer = DeviceObserver(Judge({}))
    broken: Any = SimpleNamespace()
    assert observer.before_grammar(torch.zeros(1, 4), broken) is None


# Steps


def make_info(rows: int, temperature: float | None = None, **changes: Any) -> Any:
    """What the observer needs of SGLang's `SamplingBatchInfo`."""
    info = {
        "is_all_greedy": temperature is None,
        "temperatures": torch.full((rows, 1), temperature or 1.0),
        "grammar_mask": None,
        "grammars": None,
        "logit_bias": None,
        "has_custom_logit_processor": False,
        "custom_logit_processor": None,
        **changes,
    }
    return SimpleNamespace(**info)


def observe(logits_BV: torch.Tensor, tokens_B: torch.Tensor, info: Any) -> torch.Tensor:
    """The step values of a step, with the sampler overwriting the logits as SGLang's does."""
    observer = DeviceObserver(Judge({}))
    buffer_BV = logits_BV.clone()
    state = observer.before_grammar(buffer_BV, info)
    assert state is not None
    if not info.is_all_greedy:
        if info.logit_bias is not None:
            buffer_BV += info.logit_bias
        buffer_BV.div_(info.temperatures)
        buffer_BV[:] = buffer_BV.softmax(dim=-1)
    values = observer.after_sample(state, tokens_B.to(torch.int32))
    assert values is not None
    host = values.copy_to_host(lambda tensor: tensor.clone())
    return host.values_B5


LOGPROB, KNOWN = STEP_VALUES.index("logprob"), STEP_VALUES.index("known")


@pytest.mark.parametrize("temperature", [None, 1.0, 0.6], ids=["greedy", "one", "own"])
@pytest.mark.parametrize("rank", [0, 10, 40], ids=["best", "tenth", "far"])
def test_the_logprob_of_the_sampled_token_is_that_of_the_raw_logits(
    temperature: float | None, rank: int
) -> None:
    logits_BV = make_logits(3, 100, spread=2.0)
    tokens_B = logits_BV.sort(dim=-1, descending=True).indices[:, rank]
    values = observe(logits_BV, tokens_B, make_info(3, temperature))
    exact_B = logits_BV.log_softmax(dim=-1).gather(1, tokens_B.unsqueeze(-1)).squeeze(-1)
    is_known = rank < 16 or temperature is not None
    assert values[:, KNOWN].tolist() == [float(is_known)] * 3
    if is_known:
        torch.testing.assert_close(values[:, LOGPROB], exact_B, atol=1e-4, rtol=1e-5)
    else:
        assert bool((values[:, LOGPROB] > exact_B).all())


ALLOWED = torch.full((3, 4), -1, dtype=torch.int32)
BIAS = torch.zeros(3, 100)
BIAS[1, 5] = 4.0


@pytest.mark.parametrize(
    "changes",
    [
        {"grammar_mask": SimpleNamespace(vocab_mask=ALLOWED), "grammars": [None, object(), None]},
        {"logit_bias": BIAS},
        {
            "has_custom_logit_processor": True,
            "custom_logit_processor": {7: SimpleNamespace(rows=[1], indices=torch.tensor([1]))},
        },
    ],
    ids=["grammar", "bias", "processor"],
)
def test_what_one_request_asks_for_changes_no_bit_of_its_neighbours(
    changes: dict[str, Any],
) -> None:
    logits_BV = make_logits(3, 100, spread=2.0)
    tokens_B = logits_BV.sort(dim=-1, descending=True).indices[:, 40]
    plain = observe(logits_BV, tokens_B, make_info(3, 0.7))
    beside = observe(logits_BV, tokens_B, make_info(3, 0.7, **changes))
    assert torch.equal(beside[[0, 2]], plain[[0, 2]])
    assert beside[:, KNOWN].tolist() == [1.0, 0.0, 1.0]


def test_a_bias_that_has_left_the_batch_changes_no_bit() -> None:
    logits_BV = make_logits(3, 100, spread=2.0)
    tokens_B = logits_BV.sort(dim=-1, descending=True).indices[:, 40]
    plain = observe(logits_BV, tokens_B, make_info(3, 0.7))
    after = observe(logits_BV, tokens_B, make_info(3, 0.7, logit_bias=torch.zeros(3, 100)))
    assert torch.equal(after, plain)


def test_a_greedy_request_is_the_same_among_sampled_ones() -> None:
    logits_BV = make_logits(3, 100)
    tokens_B = logits_BV.argmax(dim=-1)
    alone = observe(logits_BV[:1], tokens_B[:1], make_info(1))
    mixed = make_info(3, 0.7)
    mixed.temperatures[0] = 1.0  # as SGLang sets it for a greedy row
    assert torch.equal(observe(logits_BV, tokens_B, mixed)[:1], alone)


# Runners and pipeline stages


@pytest.mark.parametrize("is_constrained", [False, True], ids=["plain", "grammar"])
@pytest.mark.parametrize("observer", [HostObserver, DeviceObserver])
def test_a_step_of_the_last_pipeline_stage_is_the_same_in_the_first(
    observer: Any, is_constrained: bool
) -> None:
    """By SGLang's own transport of what an observer returns."""
    grammar = {"grammar_mask": SimpleNamespace(vocab_mask=ALLOWED), "grammars": [object()] * 3}
    logits_BV, reports = make_logits(3, 100), []
    tokens_B = logits_BV.argmax(dim=-1)
    for is_moved in (False, True):
        judge = Judge({0: make_model()}, record=True)
        stage = observer(judge)
        state = stage.before_grammar(logits_BV, make_info(3, **grammar if is_constrained else {}))
        output = stage.after_sample(state, tokens_B)
        if is_moved:
            tensors: dict[str, Any] = {"next_token_ids": tokens_B}
            add_auxiliary_output_to_pp_tensors(tensors, output)
            output = pop_auxiliary_output_from_pp_tensors(tensors, stage)
        requests = [make_req() for _ in range(3)]
        commits = [request.commit() for request in requests]
        for request in requests:
            finish(request)
        host = output.copy_to_host(lambda tensor: tensor.clone())
        host.consume(SimpleNamespace(reqs=requests), commits)
        reports.append([report_of(judge, request) for request in requests])
    assert reports[0] == reports[1]
    assert None not in reports[0]


@pytest.mark.parametrize("is_draft", [True, False])
def test_a_draft_runner_gets_no_observer(is_draft: bool) -> None:
    """Its setter would raise, and it never samples for a request."""
    runner = SimpleNamespace(is_draft_worker=is_draft, device="cpu")
    model_runner_init.PATCH.build(Judge({}))(None, runner)
    assert hasattr(runner, "sampling_observer") != is_draft
