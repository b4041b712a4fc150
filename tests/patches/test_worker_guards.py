"""The hooks that end one request where SGLang would end the worker, or hold it."""

from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sglang.srt.constrained.grammar_manager import InvalidGrammarObject
from sglang.srt.managers.schedule_batch import Req
from sglang.srt.sampling.sampling_params import SamplingParams

from cascadia_patches.scheduler import (
    req_check_str_based_finish,
    req_update_finish_state,
    xgrammar_grammar_fill_vocab_mask,
)
from cascadia_sglang.sglang_state import DEAD_END


class Letters:
    """A tokenizer of one letter a token."""

    eos_token_id = 0
    additional_stop_token_ids = None

    def encode(self, text: str, **_: Any) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Any) -> str:
        return "".join(map(chr, ids))


def make_request(written: str, **params: Any) -> Req:
    sampling = SamplingParams(max_new_tokens=1000, **params)
    sampling.normalize(Letters())
    request = Req("r", "", array("q", [1]), sampling, vocab_size=128, eos_token_ids=set())
    request.tokenizer = Letters()
    request.output_ids.extend(map(ord, written))
    return request


@pytest.fixture
def one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    group = SimpleNamespace(world_size=1)
    target = "sglang.srt.distributed.parallel_state.get_tp_group"
    monkeypatch.setattr(target, lambda: group)


def finish(request: Req) -> bool:
    hook = req_check_str_based_finish.PATCH.build(None)
    original = Req._check_str_based_finish
    return bool(hook(original, request))


@pytest.mark.usefixtures("one_rank")
def test_a_pattern_that_backtracks_for_hours_ends_its_request_with_a_400() -> None:
    request = make_request("a" * 60, stop_regex="(a+)+b")
    assert finish(request)
    reason = request.finished_reason.to_json()
    assert (reason["type"], reason["status_code"]) == ("abort", 400)
    assert "stop_regex" in reason["message"]


@pytest.mark.usefixtures("one_rank")
def test_a_pattern_that_is_found_stops_as_ever() -> None:
    request = make_request("aab", stop_regex="a+b")
    assert finish(request)
    assert request.finished_reason.to_json()["matched"] == "a+b"
    assert not finish(make_request("aaa", stop_regex="a+b"))


def test_a_request_without_a_pattern_starts_no_timer() -> None:
    assert not finish(make_request("aaa"))
    assert finish(make_request("aaab", stop="b"))


# Grammars that allow no token


def fill(row: list[int]) -> tuple[list[int], Any]:
    grammar = SimpleNamespace()
    mask = torch.tensor([[5, 5], row], dtype=torch.int32)
    xgrammar_grammar_fill_vocab_mask.PATCH.build(None)(None, grammar, mask, 1)
    assert mask[0].tolist() == [5, 5]
    return mask[1].tolist(), grammar


def test_a_row_that_allows_nothing_allows_everything_and_is_noted() -> None:
    row, grammar = fill([0, 0])
    assert row == [-1, -1]
    assert DEAD_END.get(grammar)


def test_a_row_that_allows_a_token_stays_as_it_is() -> None:
    row, grammar = fill([0, 4])
    assert row == [0, 4]
    assert not vars(grammar)


@pytest.mark.parametrize("wraps", [False, True], ids=["plain", "with-reasoning"])
def test_a_request_whose_grammar_led_nowhere_ends_with_a_400(wraps: bool) -> None:
    _, grammar = fill([0, 0])
    request = make_request("a")
    request.grammar = SimpleNamespace(grammar=grammar) if wraps else grammar
    req_update_finish_state.PATCH.build(None)(Req.update_finish_state, request)
    assert request.finished()
    assert request.finished_reason.to_json()["status_code"] == 400


def test_a_request_with_another_grammar_goes_on() -> None:
    request = make_request("a")
    request.grammar = InvalidGrammarObject("x")
    request.grammar.is_terminated = lambda: False
    req_update_finish_state.PATCH.build(None)(Req.update_finish_state, request)
    assert not request.finished()
