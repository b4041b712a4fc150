"""A worker's steps, written by the worker's log and read back for a fit."""

from types import SimpleNamespace

import pytest
import torch

from cascadia_sglang.errors import WorkerError
from cascadia_sglang.profiling.steps import read_steps
from cascadia_sglang.worker.step_log import StepLog

SCHEDULER = {
    "max_total_num_tokens": 5000,
    "max_running_requests": 7,
    "chunked_prefill_size": None,
    "max_prefill_tokens": 16384,
    "new_token_ratio_tracker": SimpleNamespace(init=0.7),
    "device": "cpu",
    "enable_overlap": True,
    "forward_ct": 1,
    "model_config": SimpleNamespace(vocab_size=1000, context_len=2048),
    "spec_algorithm": SimpleNamespace(is_none=lambda: True),
}


def _batch(lengths, *, is_decode, is_idle=False, before=(0, 0)):
    mode = SimpleNamespace(
        is_decode=lambda: is_decode, is_idle=lambda: is_idle, is_target_verify=lambda: False
    )
    return SimpleNamespace(
        forward_mode=mode,
        reqs=[SimpleNamespace(seqlen=length) for length in lengths],
        extend_lens=list(lengths),
        prefix_lens=list(before[: len(lengths)]),
        extend_num_tokens=sum(lengths),
    )


def _run(folder, *batches):
    """Run batches, each with whether the scheduler idled before it."""
    log = StepLog(folder, "small-0")
    for batch, idled in batches:
        scheduler = SimpleNamespace(**SCHEDULER, _sched_idled=idled)
        assert log.run(scheduler, batch, lambda: "result") == "result"


def test_steps_come_back_with_their_shapes(tmp_path):
    prefill = _batch([10, 20], is_decode=False, before=(4, 0))
    decode = _batch([11, 21], is_decode=True)
    _run(tmp_path, (prefill, True), (decode, False), (decode, False))
    profile = read_steps(tmp_path, "small")
    assert [step.is_decode for step in profile.steps] == [False, True]
    first, second = profile.steps
    assert (first.rows, first.tokens, first.context_pairs) == (2, 30, 40)
    assert (second.rows, second.tokens, second.context_tokens) == (2, 2, 32)
    assert profile.limits.kv_tokens == 5000
    assert profile.limits.chunked_prefill_tokens is None
    assert profile.limits.is_blocking
    assert (profile.device, profile.vocabulary, profile.context_tokens) == ("cpu", 1000, 2048)


def test_a_step_before_a_pause_has_no_time_of_its_own(tmp_path):
    decode = _batch([11], is_decode=True)
    _run(tmp_path, (decode, True), (decode, True), (decode, False), (decode, False))
    profile = read_steps(tmp_path, "small")
    assert len(profile.steps) == 2
    assert profile.all_s > 0


def test_the_host_has_what_the_forward_leaves(tmp_path):
    decode = _batch([11], is_decode=True)
    _run(tmp_path, (decode, True), (decode, False), (decode, False))
    profile = read_steps(tmp_path, "small")
    assert len(profile.host_s) == len(profile.steps) == 2
    for host_s, step in zip(profile.host_s, profile.steps, strict=True):
        assert 0 <= host_s < step.seconds


def test_speculative_steps_say_their_rows_and_their_tokens(tmp_path, monkeypatch):
    spec = SimpleNamespace(speculative_num_draft_tokens=6)
    monkeypatch.setattr("sglang.srt.runtime_context.get_spec", lambda: spec)
    log = StepLog(tmp_path, "small-0")
    decode = _batch([11, 21], is_decode=True)
    speculates = {"spec_algorithm": SimpleNamespace(is_none=lambda: False)}
    for number, accepted in enumerate(([1, 4], [2, 5], [6, 6])):
        fields = {**SCHEDULER, **speculates, "forward_ct": number}
        scheduler = SimpleNamespace(**fields, _sched_idled=False)
        decode.forward_iter = number
        result = SimpleNamespace(accept_lens=torch.tensor(accepted))
        assert log.run(scheduler, decode, lambda result=result: result) is result
        log.finish(scheduler, decode, result)
    profile = read_steps(tmp_path, "small")
    assert [step.rows for step in profile.steps] == [12, 12]
    assert profile.draft_rows == 6
    assert profile.tokens_per_step == 3.0


def test_plain_steps_give_a_token_each(tmp_path):
    decode = _batch([11, 21], is_decode=True)
    _run(tmp_path, (decode, True), (decode, False))
    profile = read_steps(tmp_path, "small")
    assert (profile.draft_rows, profile.tokens_per_step) == (1, 1.0)


def test_idle_batches_are_no_steps(tmp_path):
    _run(
        tmp_path,
        *((_batch([], is_decode=False, is_idle=True), False),) * 3,
        *((_batch([5], is_decode=True), False),) * 3,
    )
    assert len(read_steps(tmp_path, "small").steps) == 2


def test_a_tier_is_found_among_those_that_share_a_worker(tmp_path):
    log = StepLog(tmp_path, "fast+careful-3")
    for _ in range(3):
        log.run(
            SimpleNamespace(**SCHEDULER, _sched_idled=False),
            _batch([5], is_decode=True),
            lambda: None,
        )
    assert len(read_steps(tmp_path, "careful").steps) == 2
    with pytest.raises(WorkerError, match="no worker of tier care has run a step"):
        read_steps(tmp_path, "care")
