"""A worker keeps of a draft what its model prefers, and gives the rest back.

Over doubles of SGLang's scheduler; the real one is in tests/system.
"""

import itertools
from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cascadia_sglang.judge.calibration import ScoreModel
from cascadia_sglang.messages import ATTEMPT_KEY, AttemptOrder
from cascadia_sglang.verify import reader as module
from cascadia_sglang.verify.confirm import DraftJudge
from cascadia_sglang.verify.reader import DraftReader
from tests.unit.judge.judging import make_model

PROMPT, DRAFT = [1, 2, 3, 4, 5], [6, 7, 8, 9]
END, VOCABULARY = 9, 12


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
        monkeypatch: Any,
        prefers: list[int],
        page_size: int = 1,
        second: DraftJudge | None = None,
    ) -> None:
        metadata = SimpleNamespace(from_forward_batch=lambda batch: batch)
        monkeypatch.setattr(module, "LogitsMetadata", metadata)
        self.reader = DraftReader(None, second or DraftJudge({}))
        self.allocator = TokenToKVPoolAllocator(page_size)
        self.scheduler: Any = SimpleNamespace(
            token_to_kv_pool_allocator=self.allocator,
            req_to_token_pool=SimpleNamespace(req_to_token=100 + torch.arange(64).reshape(1, 64)),
            spec_algorithm=SimpleNamespace(is_none=lambda: True),
            tree_cache=SimpleNamespace(supports_mamba=lambda: False, supports_swa=lambda: False),
            model_config=SimpleNamespace(is_encoder_decoder=False),
            server_args=SimpleNamespace(pp_size=1),
        )
        # Row i of the hidden states names the token that is preferred after position i.
        told = [0] * (len(PROMPT) - 1) + prefers
        self.hidden_TD = torch.nn.functional.one_hot(torch.tensor(told), VOCABULARY).float()
        self.is_broken = False

    def _get_logits(self, hidden_nD: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if self.is_broken:
            raise RuntimeError("no logits")
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
            tokenizer=None,
            skip_radix_cache_insert=False,
            extend_end=0,
            to_finish=None,
            kv=SimpleNamespace(req_pool_idx=0, kv_committed_len=0, kv_allocated_len=0),
            finished=lambda: True,
        )

    def report(self, request: Any) -> dict[str, Any]:
        ((told,),) = self.reader.reports([request])
        return told

    def begin(self, request: Any) -> None:
        self.reader.begin(self.scheduler, request)
        request.full_untruncated_fill_ids = request.origin_input_ids + request.output_ids

    def prefill(self, request: Any, first: int, last: int) -> tuple[int, int]:
        """Compute positions [first, last): the token that is sampled, and the length afterwards."""
        request.extend_end = last
        request.kv.kv_committed_len = request.kv.kv_allocated_len = last
        mode = SimpleNamespace(is_extend=lambda: True)
        forward: Any = SimpleNamespace(
            forward_mode=mode,
            rids=["r"],
            extend_prefix_lens_cpu=[first],
            extend_seq_lens_cpu=[last - first],
        )
        output = SimpleNamespace(next_token_logits=self.hidden_TD[last - 1 : last].clone())
        self.reader.read(output, self, self.hidden_TD[first:last], None, forward)
        lens = torch.tensor([last])
        batch: Any = SimpleNamespace(
            forward_mode=mode,
            reqs=[request],
            device="cpu",
            seq_lens=lens,
            orig_seq_lens=lens.int(),
            seq_lens_cpu=lens,
            seq_lens_sum=last,
        )
        self.reader.settle(self.scheduler, batch)
        assert batch.seq_lens_sum == int(batch.seq_lens[0]) == int(batch.orig_seq_lens[0])
        return int(output.next_token_logits.argmax()), int(batch.seq_lens[0])


@pytest.mark.parametrize(
    ("prefers", "kept"),
    [([6, 7, 8, 9, 0], 4), ([6, 7, 1, 9, 0], 2), ([2, 7, 8, 9, 0], 0), ([6, 7, 8, 3, 0], 3)],
)
def test_what_the_model_prefers_is_kept_and_the_rest_given_back(
    monkeypatch: Any, prefers: list[int], kept: int
) -> None:
    worker = Worker(monkeypatch, prefers)
    request = worker.request()
    worker.begin(request)
    sampled, length = worker.prefill(request, 0, 9)
    agreed = min(kept, 3)
    assert sampled == prefers[agreed]
    assert list(request.output_ids) == DRAFT[:agreed]
    assert length == request.extend_end == request.kv.kv_allocated_len == 5 + agreed
    assert list(request.full_untruncated_fill_ids) == [*PROMPT, *DRAFT[:agreed]]
    assert worker.allocator.freed == [100 + slot for slot in range(5 + agreed, 9)]
    assert worker.report(request) == {
        "kept": kept,
        "score": None,
        "confirmed": False,
        "features": None,
    }


def test_pages_that_hold_something_kept_stay(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, [6, 0, 0, 0, 0], page_size=4)
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 9)  # six tokens are kept, in two pages
    assert worker.allocator.freed == [108]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_prefill_in_chunks_gives_the_same(monkeypatch: Any, cut: int) -> None:
    worker = Worker(monkeypatch, [6, 7, 1, 9, 0])
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, cut)[1] == cut  # nothing is settled yet
    # What is in the prefix cache could not be taken back.
    assert request.skip_radix_cache_insert
    assert worker.prefill(request, cut, 9) == (1, 7)
    assert not request.skip_radix_cache_insert
    assert list(request.output_ids) == DRAFT[:2]


def test_a_draft_that_cannot_be_read_ends_the_attempt_and_changes_no_token(
    monkeypatch: Any,
) -> None:
    worker = Worker(monkeypatch, [6, 7, 1, 9, 0])
    request = worker.request()
    worker.begin(request)
    worker.prefill(request, 0, 7)  # the place where they part is known by then
    worker.is_broken = True
    worker.prefill(request, 7, 9)
    assert request.to_finish.status_code == 500
    assert worker.allocator.freed == []


def test_the_cache_may_give_the_prompt_alone_while_the_draft_is_unread(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, [6, 7, 1, 9, 0])
    request = worker.request()
    assert worker.reader.cached_limit(request, 8) == 8
    worker.begin(request)
    assert worker.reader.cached_limit(request, 8) == 4
    worker.prefill(request, 0, 9)
    assert worker.reader.cached_limit(request, 8) == 8


def test_a_draft_leaves_a_token_to_write(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, [6, 7, 8, 9, 0])
    request, short = worker.request(most=3), worker.request(most=1)
    worker.begin(request)
    assert list(request.output_ids) == DRAFT[:2]
    worker.begin(short)
    assert not short.output_ids


def test_a_cache_that_is_not_plain_takes_no_draft(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, [6, 7, 8, 9, 0])
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


def test_a_confirmed_draft_is_kept_whole_whatever_the_model_prefers(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, PARTED, second=sure())
    request = worker.request(confirm_at=0.9)
    worker.begin(request)
    sampled, length = worker.prefill(request, 0, 9)
    assert sampled == DRAFT[-1]
    assert list(request.output_ids) == DRAFT[:-1]
    assert length == 8
    assert worker.allocator.freed == [108]
    told = worker.report(request)
    assert (told["kept"], told["confirmed"]) == (4, True)
    assert told["score"] > 0.9


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_draft_in_chunks_is_rated_as_one(monkeypatch: Any, cut: int) -> None:
    scores = []
    for bounds in ([0, 9], [0, cut, 9]):
        worker = Worker(monkeypatch, PARTED, second=sure(bias=3.0))
        request = worker.request(confirm_at=0.5)
        worker.begin(request)
        for first, last in itertools.pairwise(bounds):
            sampled, length = worker.prefill(request, first, last)
        assert (sampled, length) == (DRAFT[-1], 8)
        scores.append(worker.report(request)["score"])
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)


def test_a_draft_below_its_score_is_read_as_any(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, PARTED, second=sure(bias=-9.0))
    request = worker.request(confirm_at=0.5)
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    told = worker.report(request)
    assert (told["kept"], told["confirmed"]) == (2, False)
    assert told["score"] < 0.5


@pytest.mark.parametrize("most", [3, 4])
def test_a_draft_that_was_cut_is_not_rated(monkeypatch: Any, most: int) -> None:
    worker = Worker(monkeypatch, PARTED, second=sure())
    request = worker.request(most=most, confirm_at=0.5)
    worker.begin(request)
    worker.prefill(request, 0, 5 + len(request.output_ids))
    told = worker.report(request)
    assert (told["score"], told["confirmed"]) == (None, False)


def test_nothing_is_rated_that_the_router_did_not_ask_for(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, PARTED, second=sure())
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    assert worker.report(request)["score"] is None


def test_where_answers_are_recorded_every_draft_is(monkeypatch: Any) -> None:
    worker = Worker(monkeypatch, PARTED, second=DraftJudge({}, record=True))
    request = worker.request()
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    told = worker.report(request)
    assert (told["kept"], told["score"]) == (2, None)
    logits_NV = worker.hidden_TD[4:8]
    logprob_N = logits_NV.log_softmax(dim=-1)[range(4), DRAFT]
    assert told["features"][:3] == pytest.approx(
        [logprob_N.mean().item(), logprob_N.min().item(), logprob_N.sum().item()], rel=1e-6
    )


def test_a_second_judge_that_fails_leaves_the_reading(monkeypatch: Any) -> None:
    def fails(*_: Any) -> float:
        raise RuntimeError("no score")

    monkeypatch.setattr(ScoreModel, "score", fails)
    worker = Worker(monkeypatch, PARTED, second=sure())
    request = worker.request(confirm_at=0.5)
    worker.begin(request)
    assert worker.prefill(request, 0, 9) == (1, 7)
    told = worker.report(request)
    assert (told["kept"], told["confirmed"]) == (2, False)
