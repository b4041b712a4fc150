"""A worker keeps of a draft what its model prefers, and gives the rest back.

Over doubles of SGLang's scheduler; the real one is in tests/system.
"""

import dataclasses
import inspect
import itertools
from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sglang.srt.distributed.device_communicators import triton_symm_mem_ag
from sglang.srt.layers import logits_processor
from sglang.srt.model_executor.forward_batch_info import ForwardBatch, ForwardMode

from cascadia_sglang.drafts import comparer
from cascadia_sglang.drafts.reader import DraftReader
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.token_agreement import Comparison
from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from tests.unit.judge.judging import make_model

PROMPT, DRAFT = [1, 2, 3, 4, 5], [6, 7, 8, 9]
END, VOCABULARY = 9, 12


def forward_batch(prefix_lens: list[int], lens: list[int], **fields: Any) -> ForwardBatch:
    """SGLang's own, of an eager prefill."""
    ends = [prefix + length for prefix, length in zip(prefix_lens, lens, strict=True)]
    return ForwardBatch(
        forward_mode=ForwardMode.EXTEND,
        batch_size=len(lens),
        input_ids=torch.zeros(sum(lens), dtype=torch.int64),
        req_pool_indices=torch.arange(len(lens)),
        seq_lens=torch.tensor(ends),
        out_cache_loc=torch.arange(sum(lens)),
        seq_lens_sum=sum(ends),
        extend_prefix_lens_cpu=prefix_lens,
        extend_seq_lens_cpu=lens,
        **fields,
    )


class TokenToKVPoolAllocator:
    """Notes what is freed."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.freed: list[int] = []

    def free(self, slots: torch.Tensor) -> None:
        self.freed += slots.tolist()


class Worker:
    """A reader in a scheduler whose model prefers given tokens after the prompt and the draft."""

    def __init__(
        self,
        prefers: list[int],
        page_size: int = 1,
        second: DraftJudge | None = None,
    ) -> None:
        self.reader = DraftReader(None, second or DraftJudge({}))
        self.allocator = TokenToKVPoolAllocator(page_size)
        self.scheduler: Any = SimpleNamespace(
            token_to_kv_pool_allocator=self.allocator,
            req_to_token_pool=SimpleNamespace(req_to_token=100 + torch.arange(64).reshape(1, 64)),
            spec_algorithm=SimpleNamespace(is_none=lambda: True),
            tree_cache=SimpleNamespace(supports_mamba=lambda: False, supports_swa=lambda: False),
            model_config=SimpleNamespace(is_encoder_decoder=False),
            server_args=SimpleNamespace(pp_size=1, tp_size=1, enable_layernorm_sp=False),
            enable_overlap=False,
        )
        self._logits_gatherer = SimpleNamespace(_skip_entry_sync=True)
        self.rows_at_once: list[int] = []
        # Row i of the hidden states names the token that is preferred after position i.
        reported = [0] * (len(PROMPT) - 1) + prefers
        self.hidden_TD = torch.nn.functional.one_hot(torch.tensor(reported), VOCABULARY).float()
        self.is_broken = False
        self.lost_rows = 0

    def _get_logits(self, hidden_nD: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if self.is_broken:
            raise RuntimeError("no logits")
        assert not self._logits_gatherer._skip_entry_sync
        self.rows_at_once.append(len(hidden_nD))
        return hidden_nD

    def request(self, most: int = 32, confirm_at: float | None = None) -> Any:
        order = AttemptOrder(
            tier_index=1,
            threshold=0.9,
            early_abort=None,
            earlier_scores=(0.3,),
            draft=tuple(DRAFT),
            confirm_at=confirm_at,
        )
        params = SimpleNamespace(
            custom_params={ATTEMPT_KEY: order.to_params()}, max_new_tokens=most, stop_token_ids=None
        )
        return SimpleNamespace(
            rid="r",
            sampling_params=params,
            origin_input_ids=array("q", PROMPT),
            output_ids=array("q"),
            full_untruncated_fill_ids=array("q", PROMPT),
            eos_token_ids={END},
            vocab_size=VOCABULARY,
            tokenizer=None,
            skip_radix_cache_insert=False,
            extend_end=0,
            to_finish=None,
            kv=SimpleNamespace(req_pool_idx=0, kv_committed_len=0, kv_allocated_len=0),
            finished=lambda: True,
        )

    def report(self, request: Any) -> dict[str, Any]:
        ((reported,),) = self.reader.reports([request])
        return reported

    def begin(self, request: Any) -> None:
        self.reader.begin(self.scheduler, request)
        request.full_untruncated_fill_ids = request.origin_input_ids + request.output_ids

    def prefill(self, request: Any, first: int, last: int) -> tuple[int, int]:
        """Compute positions [first, last): the token that is sampled, and the length afterwards."""
        request.extend_end = last
        request.kv.kv_committed_len = request.kv.kv_allocated_len = last
        live = forward_batch([first], [last - first], rids=["r"])
        self.reader.note_batch(live)
        output = SimpleNamespace(next_token_logits=self.hidden_TD[last - 1 : last].clone())
        # As the batch of a CUDA-graph runner.
        runners = dataclasses.replace(live, rids=None)
        hidden_TD = self.hidden_TD[first : last - self.lost_rows]
        self.reader.read(output, self, hidden_TD, None, runners)
        assert self._logits_gatherer._skip_entry_sync
        lens = torch.tensor([last])
        batch: Any = SimpleNamespace(
            forward_mode=ForwardMode.EXTEND,
            reqs=[request],
            device="cpu",
            seq_lens=lens,
            orig_seq_lens=lens.int(),
            seq_lens_cpu=lens,
            seq_lens_sum=last,
        )
        self.reader.settle_relayed(self.scheduler, batch)
        if self.scheduler.enable_overlap:
            assert batch.seq_lens is lens
            self.reader.settle(self.scheduler, batch)
        assert batch.seq_lens_sum == int(batch.seq_lens[0]) == int(batch.orig_seq_lens[0])
        return int(output.next_token_logits.argmax()), int(batch.seq_lens[0])


@pytest.mark.parametrize(
    ("prefers", "kept_tokens"),
    [([6, 7, 8, 9, 0], 4), ([6, 7, 1, 9, 0], 2), ([2, 7, 8, 9, 0], 0), ([6, 7, 8, 3, 0], 3)],
)
def test_what_the_model_prefers_is_kept_and_the_rest_given_back(
    prefers: list[int], kept_tokens: int
) -> None:
    worker = Worker(prefers)
    request = worker.request()
    worker.begin(request)
    sampled, length = worker.prefill(request, 0, 9)
    agreed = min(kept_tokens, 3)
    assert sampled == prefers[agreed]
    assert list(request.output_ids) == DRAFT[:agreed]
    assert length == request.extend_end == request.kv.kv_allocated_len == 5 + agreed
    assert list(request.full_untruncated_fill_ids) == [*PROMPT, *DRAFT[:agreed]]
    assert worker.allocator.freed == [100 + slot for slot in range(5 + agreed, 9)]
    assert worker.report(request) == {
        "kept": kept_tokens,
        "score": None,
        "confirmed": False,
        "features": None,
    }


def test_pages_that_hold_something_kept_stay() -> None:
    worker = Worker([6, 0, 0, 0, 0], page_size=4)
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 9)  # six tokens are kept, in two pages
    assert worker.allocator.freed == [108]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_prefill_in_chunks_gives_the_same(cut: int) -> None:
    worker = Worker([6, 7, 1, 9, 0])
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, cut)[1] == cut  # nothing is settled yet
    # What is in the prefix cache could not be taken back.
    assert request.skip_radix_cache_insert
    assert worker.prefill(request, cut, 9) == (1, 7)
    assert not request.skip_radix_cache_insert
    assert list(request.output_ids) == DRAFT[:2]


def test_a_draft_that_cannot_be_read_ends_the_attempt_and_changes_no_token() -> None:
    worker = Worker([6, 7, 1, 9, 0])
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 6)
    worker.is_broken = True
    worker.prefill(request, 6, 9)
    assert request.to_finish.status_code == 500
    assert worker.allocator.freed == []


def test_a_batch_that_does_not_fit_its_hidden_states_ends_its_drafts_alone() -> None:
    worker = Worker([6, 7, 1, 9, 0])
    request = worker.request()
    worker.begin(request)
    worker.lost_rows = 1
    worker.prefill(request, 0, 9)
    assert request.to_finish.status_code == 500
    assert worker.allocator.freed == []


def test_a_forward_that_was_not_announced_is_not_read() -> None:
    """As a graph that is captured while a draft waits in the queue."""
    worker = Worker([6, 7, 1, 9, 0])
    worker.begin(worker.request())
    output = SimpleNamespace(next_token_logits=torch.zeros(1, VOCABULARY))
    worker.reader.read(output, worker, worker.hidden_TD, None, forward_batch([0], [9]))
    assert worker.rows_at_once == []
    assert not output.next_token_logits.any()


def test_what_comes_after_the_place_where_they_part_is_not_computed(monkeypatch: Any) -> None:
    worker = Worker([6, 0, 8, 9, 0])
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 6)
    assert worker.prefill(request, 6, 9) == (0, 6)
    assert worker.rows_at_once == [2]
    monkeypatch.setattr(comparer, "CHUNK_ROWS", 1)
    worker = Worker([6, 0, 8, 9, 0])
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (0, 6)
    assert worker.rows_at_once == [1, 1]


def test_a_retracted_request_is_read_anew() -> None:
    worker = Worker([6, 0, 8, 9, 0])
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 6)
    assert worker.prefill(request, 0, 9) == (0, 6)
    assert worker.rows_at_once == [2, 4]


# When it waits


def waits(monkeypatch: Any) -> list[str]:
    """What happens to comparisons, in order."""
    happened: list[str] = []
    results = Comparison.results

    def noted(comparison: Comparison) -> Any:
        happened.append("waited")
        return results(comparison)

    monkeypatch.setattr(Comparison, "results", noted)
    return happened


def test_an_overlapped_loop_waits_for_a_draft_when_it_settles_it(monkeypatch: Any) -> None:
    happened = waits(monkeypatch)
    worker = Worker([6, 7, 1, 9, 0])
    worker.scheduler.enable_overlap = True
    monkeypatch.setattr(
        worker.reader, "settle", lambda *given: (happened.append("settles"), settle(*given))
    )
    settle = DraftReader.settle.__get__(worker.reader)
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    assert happened == ["settles", "waited"]


def test_a_chunk_of_a_prefill_is_waited_for_when_the_next_one_is_read(monkeypatch: Any) -> None:
    happened = waits(monkeypatch)
    worker = Worker([6, 7, 1, 9, 0])
    worker.scheduler.enable_overlap = True
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 6)
    assert happened == []
    assert worker.prefill(request, 6, 9) == (1, 7)
    assert happened == ["waited", "waited"]


def test_a_rated_draft_is_waited_for_before_its_token_is_sampled() -> None:
    worker = Worker(PARTED, second=sure())
    worker.scheduler.enable_overlap = True
    request = worker.request(confirm_at=0.9)
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (DRAFT[-1], 8)


# Several ranks


@pytest.mark.parametrize("is_last", [False, True])
def test_a_draft_that_another_rank_could_not_read_ends_on_this_rank_too(
    monkeypatch: Any, is_last: bool
) -> None:
    def other_rank_failed(flags: torch.Tensor, op: Any, group: Any) -> None:
        assert (op, group) == (torch.distributed.ReduceOp.MAX, "the ranks")
        assert flags.tolist() == [0]
        flags.fill_(1)

    worker = Worker([6, 7, 1, 9, 0])
    worker.scheduler.server_args.tp_size = 2
    worker.scheduler.tp_cpu_group = "the ranks"
    request = worker.request()
    worker.begin(request)
    if not is_last:
        with monkeypatch.context() as first:
            first.setattr(torch.distributed, "all_reduce", other_rank_failed)
            worker.prefill(request, 0, 6)
        # What a rank computes decides what the others wait for: no rank reads on.
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_, **__: None)
        worker.prefill(request, 6, 9)
        assert worker.rows_at_once == [2]
    else:
        monkeypatch.setattr(torch.distributed, "all_reduce", other_rank_failed)
        worker.prefill(request, 0, 9)
    assert request.to_finish.status_code == 500
    assert worker.allocator.freed == []


def test_ranks_meet_before_they_gather_a_drafts_logits(monkeypatch: Any) -> None:
    """With SGLang's own gatherer: its buffer may still be read by another rank."""
    skipped: list[bool] = []

    def gather(_state: Any, shard: torch.Tensor, *, skip_entry_sync: bool, **_: Any) -> Any:
        skipped.append(skip_entry_sync)
        return shard.float()

    monkeypatch.setattr(triton_symm_mem_ag, "all_gather_inner", gather)
    gatherer = triton_symm_mem_ag.MultimemAllGatherer(1024, enabled=False, skip_entry_sync=True)
    gatherer._state = SimpleNamespace(max_token_num=1024, world_size=1, hidden_dim=VOCABULARY)
    worker = Worker([6, 7, 1, 9, 0])
    worker._logits_gatherer = gatherer
    monkeypatch.setattr(
        worker, "_get_logits", lambda hidden_nD, *_, **__: gatherer(hidden_nD.bfloat16())
    )
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    gatherer(torch.zeros(1, VOCABULARY, dtype=torch.bfloat16))
    assert skipped == [False, True]


def test_sglangs_logits_processor_gathers_through_what_the_reader_changes() -> None:
    source = inspect.getsource(logits_processor.LogitsProcessor)
    assert "self._logits_gatherer(" in source
    assert "_skip_entry_sync" in inspect.getsource(triton_symm_mem_ag.MultimemAllGatherer.__call__)


def test_the_cache_may_give_the_prompt_alone_while_the_draft_is_unread() -> None:
    worker = Worker([6, 7, 1, 9, 0])
    request = worker.request()
    assert worker.reader.cached_limit(request, 8) == 8
    worker.begin(request)
    assert worker.reader.cached_limit(request, 8) == 4
    worker.prefill(request, 0, 9)
    assert worker.reader.cached_limit(request, 8) == 8


def test_a_draft_leaves_a_token_to_write() -> None:
    worker = Worker([6, 7, 8, 9, 0])
    request, short = worker.request(most=3), worker.request(most=1)
    worker.begin(request)
    assert list(request.output_ids) == DRAFT[:2]
    worker.begin(short)
    assert not short.output_ids


@pytest.mark.parametrize(("index", "begun"), [(2, DRAFT[:2]), (0, [])])
def test_a_draft_ends_before_a_token_that_the_model_does_not_have(
    index: int, begun: list[int]
) -> None:
    """Its embedding has no row for the token: the forward would end the worker."""
    worker = Worker([6, 7, 8, 9, 0])
    request = worker.request()
    params = request.sampling_params.custom_params[ATTEMPT_KEY]
    params["draft"] = [*DRAFT[:index], VOCABULARY, *DRAFT[index:]]
    worker.begin(request)
    assert list(request.output_ids) == begun


def test_a_cache_that_is_not_plain_takes_no_draft() -> None:
    worker = Worker([6, 7, 8, 9, 0])
    worker.scheduler.tree_cache.supports_swa = lambda: True
    request = worker.request()
    worker.begin(request)
    assert not request.output_ids
    assert not request.skip_radix_cache_insert


# The second judge

PARTED = [6, 7, 1, 9, 0]  # the model prefers another token at the third place


def sure(bias: float = 9.0) -> DraftJudge:
    """Of a model that finds any draft good, or none."""
    return DraftJudge({1: make_model(bias=bias)})


def test_a_confirmed_draft_is_kept_whole_whatever_the_model_prefers() -> None:
    worker = Worker(PARTED, second=sure())
    request = worker.request(confirm_at=0.9)
    worker.begin(request)
    sampled, length = worker.prefill(request, 0, 9)
    assert sampled == DRAFT[-1]
    assert list(request.output_ids) == DRAFT[:-1]
    assert length == 8
    assert worker.allocator.freed == [108]
    reported = worker.report(request)
    assert (reported["kept"], reported["confirmed"]) == (4, True)
    assert reported["score"] > 0.9


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_draft_in_chunks_is_rated_as_one(cut: int) -> None:
    scores = []
    for bounds in ([0, 9], [0, cut, 9]):
        worker = Worker(PARTED, second=sure(bias=3.0))
        request = worker.request(confirm_at=0.5)
        worker.begin(request)
        for first, last in itertools.pairwise(bounds):
            sampled, length = worker.prefill(request, first, last)
        assert (sampled, length) == (DRAFT[-1], 8)
        scores.append(worker.report(request)["score"])
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)


def test_a_draft_below_its_score_is_read_as_any() -> None:
    worker = Worker(PARTED, second=sure(bias=-9.0))
    request = worker.request(confirm_at=0.5)
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    reported = worker.report(request)
    assert (reported["kept"], reported["confirmed"]) == (2, False)
    assert reported["score"] < 0.5


@pytest.mark.parametrize("most", [3, 4])
def test_a_draft_that_was_cut_is_not_rated(most: int) -> None:
    worker = Worker(PARTED, second=sure())
    request = worker.request(most=most, confirm_at=0.5)
    worker.begin(request)
    worker.prefill(request, 0, 5 + len(request.output_ids))
    reported = worker.report(request)
    assert (reported["score"], reported["confirmed"]) == (None, False)


def test_nothing_is_rated_that_the_router_did_not_ask_for() -> None:
    worker = Worker(PARTED, second=sure())
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    assert worker.report(request)["score"] is None


def test_where_answers_are_recorded_every_draft_is() -> None:
    worker = Worker(PARTED, second=DraftJudge({}, record=True))
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    reported = worker.report(request)
    assert (reported["kept"], reported["score"]) == (2, None)
    logits_NV = worker.hidden_TD[4:8]
    logprob_N = logits_NV.log_softmax(dim=-1)[range(4), DRAFT]
    assert reported["features"][:3] == pytest.approx(
        [logprob_N.mean().item(), logprob_N.min().item(), logprob_N.sum().item()], rel=1e-6
    )


def test_a_second_judge_that_fails_leaves_the_reading(monkeypatch: Any) -> None:
    def fails(*_: Any) -> float:
        raise RuntimeError("no score")

    monkeypatch.setattr(ScoreModel, "score", fails)
    worker = Worker(PARTED, second=sure())
    request = worker.request(confirm_at=0.5)
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    reported = worker.report(request)
    assert (reported["kept"], reported["confirmed"]) == (2, False)
