"""What the judge takes from a verification of drafts."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xgrammar
from sglang.srt.managers.auxiliary_output import CommittedTokens

from cascadia_kernels.layout import STEP_VALUES
from cascadia_kernels.testing import make_logits
from cascadia_sglang.judge import verification
from cascadia_sglang.judge.device_observer import DeviceStep
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostStep
from cascadia_sglang.judge.verification import VerifyObserver
from tests.unit.judge.judging import SURE, finish, make_model, make_req, report_of
from tests.unit.judge.judging import step as judge_step

NODES, VOCABULARY = 4, 40
# Two requests: three nodes of the first tree are accepted, only the root of the second.
ACCEPTED = torch.tensor([[0, 2, 3, -1], [4, -1, -1, -1]], dtype=torch.int32)
PREDICTED = torch.tensor([7, 0, 9, 11, 5, 0, 0, 0], dtype=torch.int32)
RUNS = [(7, 9, 11), (5,)]


class Batch:
    """What the observer needs of SGLang's batch, of its logits, and of its sampling parameters."""

    def __init__(self, **sampling: Any) -> None:
        self.logits = make_logits(2 * NODES, VOCABULARY, spread=2.0)
        self.output: Any = SimpleNamespace(
            next_token_logits=self.logits.clone(), auxiliary_device_output="of another step"
        )
        info = {
            "logit_bias": None,
            "has_watermark_candidates": False,
            "acc_additive_penalties": None,
            "acc_scaling_penalties": None,
            **sampling,
        }
        self.batch: Any = SimpleNamespace(
            sampling_info=SimpleNamespace(**info),
            forward_mode=SimpleNamespace(is_idle=lambda: False),
            reqs=[],
        )

    def observe(self, judge: Judge, mask: Any = None) -> Any:
        """SGLang's verification changes the logits in place."""

        def verify() -> Any:
            info = self.batch.sampling_info
            if info.acc_additive_penalties is not None:
                penalties = info.acc_additive_penalties.repeat_interleave(NODES, dim=0)
                self.output.next_token_logits.add_(penalties)
            if info.logit_bias is not None or mask is not None or info.has_watermark_candidates:
                self.output.next_token_logits.fill_(-7.0)
            return PREDICTED, torch.tensor([3, 1]), ACCEPTED

        observed = VerifyObserver(judge).observe(verify, NODES, self.batch, self.output, mask)
        assert observed[2] is ACCEPTED
        return self.output.auxiliary_device_output


def judged(step: Any, judge: Judge, runs: Sequence[tuple[int, ...]] = RUNS) -> list[dict[str, Any]]:
    """The reports of both requests, whose answers end with the step."""
    requests: Any = [make_req(), make_req()]
    commits = []
    for request, run in zip(requests, runs, strict=True):
        finish(request)
        commits.append(CommittedTokens(output_index=0, token_ids=run))
    copied = step.copy_to_host(lambda tensor: tensor.clone())
    copied.consume(SimpleNamespace(reqs=requests), commits)
    return [report_of(judge, request) for request in requests]


def expected(logits: torch.Tensor, forced: dict[int, bool] | None = None) -> list[Any]:
    """Recorded features of both answers, token by token on float64 logits."""
    records = []
    for row, run in zip(ACCEPTED.tolist(), RUNS, strict=True):
        judge, request = Judge({}, record=True), make_req()
        for index, (node, token) in enumerate(zip(row, run, strict=False)):
            if index == len(run) - 1:
                finish(request)
            row_BV = logits[node : node + 1].numpy()
            statistics = verification.statistics_of_rows(row_BV, np.array([0]))
            is_forced = np.array([bool(forced and forced.get(node))])
            commit = CommittedTokens(output_index=index, token_ids=(token,))
            requests: Any = [request]
            judge.consume(requests, [commit], HostStep(row_BV, statistics, is_forced, judge))
        records.append(report_of(judge, request)["record"])
    return records


def assert_same(reports: list[dict[str, Any]], records: list[Any]) -> None:
    for report, record in zip(reports, records, strict=True):
        assert report["record"]["tokens"] == record["tokens"]
        rows = [[np.nan if x is None else x for x in row] for row in report["record"]["features"]]
        right = [[np.nan if x is None else x for x in row] for row in record["features"]]
        np.testing.assert_allclose(rows, right, atol=2e-5, rtol=2e-5)


@pytest.fixture(params=["host", "device"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the logits are: an accelerator's operations have PyTorch forms for the host too."""
    if request.param == "device":
        monkeypatch.setattr(verification, "_host_step", verification._device_step)
    return str(request.param)


def test_accepted_rows_say_what_steps_of_one_token_say(device: str) -> None:
    judge, batch = Judge({0: make_model()}, record=True), Batch()
    step = batch.observe(judge)
    assert isinstance(step, HostStep if device == "host" else DeviceStep)
    assert step.width == NODES
    assert_same(judged(step, judge), expected(batch.logits))


def test_the_scores_are_those_of_the_rows(device: str) -> None:
    del device
    judge, batch = Judge({0: make_model()}), Batch()
    reports = judged(batch.observe(judge), judge)
    model = make_model()
    for report, record in zip(reports, expected(batch.logits), strict=True):
        assert report["score"] == pytest.approx(model.score(np.array(record["features"][-1])))


def test_penalties_are_part_of_what_is_judged(device: str) -> None:
    """As without speculation, where SGLang applies them before its observer is called."""
    del device
    penalties = torch.zeros(2, VOCABULARY)
    penalties[0, [7, 9]] = -2.0
    judge, batch = Judge({}, record=True), Batch(acc_additive_penalties=penalties)
    penalised = batch.logits + penalties.repeat_interleave(NODES, dim=0)
    assert_same(judged(batch.observe(judge), judge), expected(penalised))


@pytest.mark.parametrize("changed", ["bias", "watermark", "bias and penalties"])
def test_what_changes_the_logits_afterwards_is_not(changed: str, device: str) -> None:
    del device
    bias, scaling = torch.ones(2, VOCABULARY), torch.full((2, VOCABULARY), 1.5)
    changes: dict[str, dict[str, Any]] = {
        "bias": {"logit_bias": bias},
        "watermark": {"has_watermark_candidates": True},
        "bias and penalties": {"logit_bias": bias, "acc_scaling_penalties": scaling},
    }
    judge, batch = Judge({}, record=True), Batch(**changes[changed])
    logits = batch.logits
    if "penalties" in changed:
        logits = torch.where(logits > 0, logits / 1.5, logits * 1.5)
    assert_same(judged(batch.observe(judge), judge), expected(logits))


def test_a_row_whose_likeliest_token_the_grammar_forbids_is_forced(device: str) -> None:
    del device
    batch = Batch()
    mask = xgrammar.allocate_token_bitmask(2 * NODES, VOCABULARY)
    forbidden = int(batch.logits[2].argmax())
    mask[2, forbidden // 32] &= ~(1 << (forbidden % 32))
    judge = Judge({}, record=True)
    reports = judged(batch.observe(judge, SimpleNamespace(vocab_mask=mask)), judge)
    assert_same(reports, expected(batch.logits, {2: True}))
    last = dict(zip(FEATURES, reports[0]["record"]["features"][-1], strict=True))
    assert last["forced_share"] == pytest.approx(1 / 3)


def test_a_token_without_an_accepted_node_costs_its_own_answer_the_score(device: str) -> None:
    """The second request commits a token more than was accepted for it."""
    del device
    judge, batch = Judge({0: make_model()}), Batch()
    first, second = judged(batch.observe(judge), judge, [RUNS[0], (5, 6)])
    assert (first["score"] is not None, second["score"]) == (True, None)


def test_an_idle_batch_leaves_nothing() -> None:
    batch = Batch()
    batch.batch.forward_mode = SimpleNamespace(is_idle=lambda: True)
    assert batch.observe(Judge({})) is None


@pytest.mark.parametrize("stage", ["before", "after"])
def test_a_failing_judge_fails_no_verification(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(verification, "_penalise" if stage == "before" else "_host_step", fail)
    batch = Batch(logit_bias=torch.ones(2, VOCABULARY))
    judge, request, ending = Judge({0: make_model()}), make_req(), make_req()
    judge_step(judge, (request, SURE), (ending, SURE))
    batch.batch.reqs = [request, ending]
    failed = batch.observe(judge)
    assert "without a score" in caplog.text
    # With overlap, the step before is read after the next has run.
    finish(ending)
    judge_step(judge, (request, SURE), (ending, SURE))
    failed.copy_to_host(lambda tensor: tensor).consume(batch.batch, [request.commit(), None])
    assert report_of(judge, ending)["score"] is not None
    # Its later steps are not rated as if they were all.
    finish(request)
    judge_step(judge, (request, SURE))
    assert report_of(judge, request) is None


def test_a_node_that_is_not_accepted_has_no_values() -> None:
    step = verification._device_step(Judge({}), make_logits(8, 20), PREDICTED, ACCEPTED, None)
    is_row = ACCEPTED.flatten() >= 0
    assert step.values_B5[is_row].isfinite().all()
    assert step.values_B5[~is_row, STEP_VALUES.index("known")].tolist() == [0.0] * 4
