"""The shape of a scheduler's batch, in the terms of step times."""

from types import SimpleNamespace
from typing import Any

from cascadia_sglang.worker.batch_shape import BatchShape, shape_of

REQUESTS = [SimpleNamespace(seqlen=8), SimpleNamespace(seqlen=30)]


def batch(kind: str, **fields: Any) -> Any:
    mode = SimpleNamespace(
        is_decode=lambda: kind == "decode", is_target_verify=lambda: kind == "verify"
    )
    return SimpleNamespace(forward_mode=mode, reqs=REQUESTS, **fields)


def test_a_decoding_step_has_a_row_for_each_request() -> None:
    expected = BatchShape(is_decode=True, rows=2, tokens=2, context_tokens=38)
    assert shape_of(batch("decode")) == expected


def test_a_step_that_verifies_drafts_has_a_row_for_each_draft_token() -> None:
    """Its keys and values are read once for all drafts of a request."""
    drafts = SimpleNamespace(draft_token_num=6)
    expected = BatchShape(is_decode=True, rows=12, tokens=12, context_tokens=38)
    assert shape_of(batch("verify", spec_info=drafts)) == expected


def test_a_prefill_has_the_new_tokens_of_its_prompts() -> None:
    prefill = batch("extend", extend_lens=[5, 7], prefix_lens=[0, 20], extend_num_tokens=12)
    expected = BatchShape(is_decode=False, rows=2, tokens=12, context_pairs=140)
    assert shape_of(prefill) == expected
