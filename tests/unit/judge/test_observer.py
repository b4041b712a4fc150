"""What the judge takes from a sampling step."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xgrammar
from sglang.srt.managers.auxiliary_output import CommittedTokens
from sglang.srt.sampling.sampling_observer_pp import (
    add_auxiliary_output_to_pp_tensors,
    pop_auxiliary_output_from_pp_tensors,
)

from cascadia_kernels.layout import STEP_VALUES
from cascadia_kernels.testing import make_logits
from cascadia_kernels.verify_draft import verify_draft
from cascadia_patches.model import model_runner_init, model_runner_supports_sampling_observer
from cascadia_sglang.judge.changed_rows import ChangedRows, forced_rows
from cascadia_sglang.judge.device_observer import DeviceObserver, DeviceStep
from cascadia_sglang.judge.draft_step import DraftStep, draft_values
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.observer import HostObserver
from tests.unit.judge.judging import SURE, finish, make_model, make_req, report_of, step

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
        "has_watermark_candidates": False,
        "watermark_candidates_host": None,
        **changes,
    }
    return SimpleNamespace(**info)


def observe(
    logits_BV: torch.Tensor, tokens_B: torch.Tensor, info: Any, changed: Sequence[int] = ()
) -> torch.Tensor:
    """The step values of a step, with the sampler overwriting the logits as SGLang's does.

    Args:
        changed: rows whose logits are others before they are sampled.
    """
    observer = DeviceObserver(Judge({}))
    buffer_BV = logits_BV.clone()
    state = observer.before_grammar(buffer_BV, info)
    for row in changed:
        buffer_BV[row] = buffer_BV[row].flip(0) + 7.0
    if not info.is_all_greedy:
        if info.logit_bias is not None:
            buffer_BV += info.logit_bias
        buffer_BV.div_(info.temperatures)
        buffer_BV[:] = buffer_BV.softmax(dim=-1)
    values = observer.after_sample(state, tokens_B.to(torch.int32))
    assert isinstance(values, DeviceStep)
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
    is_known = rank == 0 or temperature is not None
    assert values[:, KNOWN].tolist() == [float(is_known)] * 3
    if is_known:
        torch.testing.assert_close(values[:, LOGPROB], exact_B, atol=1e-4, rtol=1e-5)
    else:
        assert bool((values[:, LOGPROB] > exact_B).all())


ALLOWED = torch.full((3, 4), -1, dtype=torch.int32)
BIAS = torch.zeros(3, 100)
BIAS[1, 5] = 4.0


# What changes the second row of three.
CHANGES: dict[str, dict[str, Any]] = {
    "grammar": {
        "grammar_mask": SimpleNamespace(vocab_mask=ALLOWED),
        "grammars": [None, object(), None],
    },
    "bias": {"logit_bias": BIAS},
    "processor": {
        "has_custom_logit_processor": True,
        "custom_logit_processor": {7: SimpleNamespace(rows=[1], indices=torch.tensor([1]))},
    },
    "watermark": {
        "has_watermark_candidates": True,
        "watermark_candidates_host": [False, True, False],
    },
}


@pytest.mark.parametrize("temperature", [None, 0.7], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_one_request_asks_for_changes_no_bit_of_its_neighbours(
    name: str, temperature: float | None
) -> None:
    """Its own log-probability is that of its raw logits, whatever the sampler saw."""
    logits_BV = make_logits(3, 100, spread=2.0)
    tokens_B = logits_BV.sort(dim=-1, descending=True).indices[:, 40]
    plain = observe(logits_BV, tokens_B, make_info(3, temperature))
    info = make_info(3, temperature, **CHANGES[name])
    beside = observe(logits_BV, tokens_B, info, changed=[1])
    assert torch.equal(beside[[0, 2]], plain[[0, 2]])
    exact = logits_BV[1].double().log_softmax(dim=-1)[tokens_B[1]].item()
    assert beside[1, LOGPROB].item() == pytest.approx(exact, abs=1e-5)
    assert beside[1, KNOWN].item() == 1.0


@pytest.mark.parametrize("name", CHANGES)
def test_a_batch_names_its_changed_rows_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor that is made from Python values on the way of a step is a copy to the device."""
    made: list[Any] = []
    right = torch.tensor

    def record(*arguments: Any, **options: Any) -> torch.Tensor:
        made.append(arguments)
        return right(*arguments, **options)

    changed_rows, logits_BV = ChangedRows(), make_logits(3, 100)
    monkeypatch.setattr(torch, "tensor", record)
    info = make_info(3, **CHANGES[name])
    first = changed_rows.keep(info, logits_BV)
    assert first is not None
    count = len(made)
    assert count == 2
    for _ in range(3):
        again = changed_rows.keep(make_info(3, **CHANGES[name]), logits_BV)
        assert again is not None
        assert again.places_B is first.places_B
    assert len(made) == count
    larger = {**CHANGES[name], **({"logit_bias": torch.zeros(4, 100)} if name == "bias" else {})}
    other = changed_rows.keep(make_info(4, **larger), make_logits(4, 100))
    assert len(made) > count
    assert other is not None


def test_another_bias_names_other_rows() -> None:
    changed_rows, logits_BV = ChangedRows(), make_logits(3, 100)
    places = []
    for row in (1, 2):
        bias_BV = torch.zeros(3, 100)
        bias_BV[row, 5] = 4.0
        rows = changed_rows.keep(make_info(3, logit_bias=bias_BV), logits_BV)
        assert rows is not None
        assert torch.equal(rows.logits_CV, logits_BV)
        places.append(rows.places_B.tolist())
    assert places == [[-1, 1, -1], [-1, -1, 2]]


def test_rows_of_all_kinds_are_kept_together() -> None:
    rows = ChangedRows().keep(
        make_info(3, logit_bias=BIAS, grammar_mask=object(), grammars=[object(), None, None]),
        make_logits(3, 100),
    )
    assert rows is not None
    assert rows.places_B.tolist() == [0, 1, -1]


def test_no_copy_is_made_where_nothing_is_changed() -> None:
    assert ChangedRows().keep(make_info(3, 0.7), make_logits(3, 100)) is None


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


# Masks


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


# Drafts


def values_of(logits_NV: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Step values of a draft."""
    return verify_draft(logits_NV, torch.tensor(tokens), torch.tensor([0, len(tokens)])).values_ND


def step_of(logits_NV: torch.Tensor, tokens: list[int], on_device: bool) -> DraftStep:
    """What a draft's places say, as read on the host or on an accelerator."""
    if on_device:
        return DraftStep(values_of(logits_NV, tokens).double().numpy())
    return DraftStep(draft_values(logits_NV.numpy(), np.array(tokens)))


@pytest.mark.parametrize("drafted", [1, 5, 11])
@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
def test_what_is_kept_of_a_draft_counts_as_the_steps_that_write_it(
    on_device: bool, drafted: int
) -> None:
    logits_NV = make_logits(12, 100)
    tokens = logits_NV.argmax(dim=-1).tolist()
    reports = []
    for kept_tokens in (0, drafted):
        judge = Judge({0: make_model()}, record=True)
        stage = DeviceObserver(judge) if on_device else HostObserver(judge)
        request = make_req()
        if kept_tokens:
            # The place after what is kept is read too, and not folded.
            read = slice(0, kept_tokens + 1)
            step = step_of(logits_NV[read], tokens[read], on_device)
            judge.fold_draft(request, step, tokens[:kept_tokens])
        for index in range(kept_tokens, 12):
            row = slice(index, index + 1)
            state = stage.before_grammar(logits_NV[row].clone(), make_info(1))
            output = stage.after_sample(state, torch.tensor(tokens[row]))
            host = output.copy_to_host(lambda tensor: tensor.clone())
            if index == 11:
                finish(request)
            commit = CommittedTokens(output_index=index, token_ids=(tokens[index],))
            host.consume(SimpleNamespace(reqs=[request]), [commit])
        report = report_of(judge, request)
        reports.append((report["score"], report["record"]["features"][-1]))
    assert reports[1][0] == pytest.approx(reports[0][0], rel=1e-6)
    assert reports[1][1] == pytest.approx(reports[0][1], rel=1e-5)


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
def test_a_draft_of_which_nothing_is_kept_leaves_the_answer_its_score(on_device: bool) -> None:
    logits_NV, reports = make_logits(2, 100), []
    for has_draft in (False, True):
        judge = Judge({0: make_model()}, record=True)
        stage = DeviceObserver(judge) if on_device else HostObserver(judge)
        request = make_req()
        if has_draft:
            judge.fold_draft(request, step_of(logits_NV, [1, 2], on_device), [])
        row = slice(0, 1)
        output = stage.after_sample(
            stage.before_grammar(logits_NV[row].clone(), make_info(1)),
            logits_NV[row].argmax(dim=-1),
        )
        finish(request)
        host = output.copy_to_host(lambda tensor: tensor.clone())
        host.consume(SimpleNamespace(reqs=[request]), [request.commit()])
        reports.append(report_of(judge, request))
    assert reports[0] is not None
    assert reports[0] == reports[1]


@pytest.mark.parametrize("observer", [HostObserver, DeviceObserver])
def test_a_draft_that_is_not_observed_leaves_its_answer_without_a_score(observer: Any) -> None:
    judge = Judge({0: make_model()})
    stage, request = observer(judge), make_req()
    judge.fold_draft(request, None, [1])
    logits_BV = make_logits(1, 100)
    state = stage.before_grammar(logits_BV.clone(), make_info(1))
    output = stage.after_sample(state, logits_BV.argmax(dim=-1))
    finish(request)
    host = output.copy_to_host(lambda tensor: tensor.clone())
    host.consume(SimpleNamespace(reqs=[request]), [request.commit()])
    assert report_of(judge, request) is None


def test_a_draft_of_a_request_that_is_not_judged_is_not_folded() -> None:
    judge = Judge({})
    request = make_req()
    logits_NV = make_logits(3, 100)
    judge.fold_draft(request, step_of(logits_NV, [1, 2, 3], False), [1, 2])
    finish(request)
    assert report_of(judge, request) is None


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
    model_config = SimpleNamespace(vocab_size=32, dtype=torch.bfloat16)
    runner = SimpleNamespace(
        is_draft_worker=is_draft,
        device="cpu",
        model_config=model_config,
        spec_algorithm=SimpleNamespace(is_none=lambda: False),
    )
    model_runner_init.PATCH.build(Judge({}))(None, runner)
    assert hasattr(runner, "sampling_observer") != is_draft


@pytest.mark.parametrize(
    ("original", "is_draft", "stages", "expected"),
    [
        (True, False, 2, True),
        (False, False, 1, True),
        (False, True, 1, False),
        (False, False, 2, False),
    ],
    ids=["not-speculative", "target", "draft", "stages"],
)
def test_the_runner_of_the_model_itself_takes_an_observer_under_speculation(
    original: bool, is_draft: bool, stages: int, expected: bool
) -> None:
    supports = model_runner_supports_sampling_observer.PATCH.build(None)
    runner = SimpleNamespace(is_draft_worker=is_draft, pp_group=SimpleNamespace(world_size=stages))
    assert supports(lambda _: original, runner) == expected


# Failures


def sampled(
    observer: Any, batch: Any, commits: Sequence[CommittedTokens | None], is_moved: bool
) -> None:
    """A step as SGLang has it observed, here or in another pipeline stage."""
    logits_BV = make_logits(len(batch.reqs), 100)
    state = observer.before_grammar(logits_BV, make_info(len(batch.reqs)))
    output = observer.after_sample(state, logits_BV.argmax(dim=-1))
    if is_moved:
        tensors: dict[str, Any] = {}
        add_auxiliary_output_to_pp_tensors(tensors, output)
        output = pop_auxiliary_output_from_pp_tensors(tensors, observer)
    output.copy_to_host(lambda tensor: tensor.clone()).consume(batch, commits)


@pytest.mark.parametrize("is_moved", [False, True], ids=["here", "pipeline"])
@pytest.mark.parametrize(
    ("observer_type", "name"),
    [
        (HostObserver, "judge.observer.host_statistics"),
        (DeviceObserver, "judge.device_observer.row_statistics"),
        (DeviceObserver, "judge.device_observer.fold_sampled"),
    ],
)
def test_a_step_that_failed_costs_the_answers_it_belongs_to_their_score(
    observer_type: Any, name: str, is_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest would be the score of another answer; a request without a token lacks nothing."""
    judge, request, waiting = Judge({0: make_model()}), make_req(), make_req()
    observer = observer_type(judge)
    step(judge, (request, SURE), (waiting, SURE))

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(f"cascadia_sglang.{name}", fail)
        batch = SimpleNamespace(reqs=[request, waiting])
        sampled(observer, batch, [request.commit(), None], is_moved)
    finish(request)
    finish(waiting)
    step(judge, (request, SURE), (waiting, SURE))
    assert report_of(judge, request) is None
    assert report_of(judge, waiting)["score"] is not None
