"""Drafts are compared in chunks of bounded size, and it does not matter how they are cut."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.drafts import comparer as module
from cascadia_sglang.drafts.batch_parts import LiveBatch
from cascadia_sglang.drafts.comparer import DraftComparer
from cascadia_sglang.drafts.draft import Draft
from cascadia_sglang.drafts.second_judge import DraftJudge
from cascadia_sglang.drafts.session import DraftSession
from cascadia_sglang.messages import AttemptOrder

VOCABULARY = 3
TOKENS = st.integers(0, VOCABULARY - 1)


def reading_of(prompt_tokens: int, draft: list[int]) -> DraftSession:
    order = AttemptOrder(tier_index=1, threshold=None, early_abort=None, earlier_scores=())
    return DraftSession(Draft(prompt_tokens, tuple(draft)), order, is_whole=False)


@given(
    requests=st.lists(
        st.tuples(st.integers(1, 4), st.lists(TOKENS, max_size=6)), min_size=1, max_size=5
    ),
    most=st.integers(1, 7),
    data=st.data(),
)
def test_any_chunks_tell_the_same(
    requests: list[tuple[int, list[int]]], most: int, data: st.DataObject
) -> None:
    lens = [prompt + len(draft) for prompt, draft in requests]
    live = LiveBatch([str(index) for index in range(len(lens))], [0] * len(lens), lens)
    total = sum(lens)
    likeliest = data.draw(st.lists(TOKENS, min_size=total, max_size=total))
    one_hot = torch.nn.functional.one_hot(torch.tensor(likeliest), VOCABULARY).float()
    hidden_TV = one_hot + 2.0 * torch.arange(total)[:, None]
    reported: list[Any] = []
    for chunk_rows in (most, total):
        unread = {
            str(index): reading_of(prompt, draft)
            for index, (prompt, draft) in enumerate(requests)
            if draft
        }
        sizes: list[int] = []

        def logits_of(hidden_nV: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(len(hidden_nV))
            return hidden_nV

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "CHUNK_ROWS", chunk_rows)
            comparer = DraftComparer(None, DraftJudge({}))
            comparer.compare(live.parts(unread, total), hidden_TV, logits_of)
        assert max(sizes, default=0) <= chunk_rows
        sampled = [reading.logits_to_sample() for reading in unread.values()]
        comparer.collect_results()
        for reading, logits_V in zip(unread.values(), sampled, strict=True):
            assert reading.next_logits_V is not None
            assert torch.equal(reading.next_logits_V, logits_V)
        reported.append(
            [
                (reading.draft.agreed, reading.draft.preferred, reading.next_logits_V.tolist())
                for reading in unread.values()
            ]
        )
    assert reported[0] == reported[1]


def test_the_logits_of_a_long_prefill_are_never_in_memory_at_once() -> None:
    draft = [1] * 5000
    hidden_TV = torch.nn.functional.one_hot(torch.tensor([1] * 5001), VOCABULARY).float()
    reading, sizes = reading_of(1, draft), []

    def logits_of(hidden_nV: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden_nV))
        return hidden_nV

    comparer = DraftComparer(None, DraftJudge({}))
    comparer.compare(
        LiveBatch(["r"], [0], [5001]).parts({"r": reading}, 5001), hidden_TV, logits_of
    )
    comparer.collect_results()
    assert sizes == [1024, 1024, 1024, 1024, 904]
    assert reading.draft.agreed == 4999
