"""A step of SGLang's NGRAM worker with a narrower window."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cascadia_sglang.drafts.verify_window import WindowedSteps, narrowed, widen

MOST, LARGEST = 4, 3


class Corpus:
    """Trees of four nodes: a chain of two behind the root, and a second child of it."""

    size = 7

    def batch_get(self, ids: list[str], *_: Any) -> Any:
        mask = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]])
        return np.tile(np.arange(MOST), len(ids)), np.tile(mask, (len(ids), 1, 1)).ravel()


def make_worker(**changes: Any) -> Any:
    """What the window changes of SGLang's worker."""
    total = LARGEST * MOST
    flat, rows = torch.arange(total), torch.zeros(LARGEST, MOST)
    worker = SimpleNamespace(
        draft_token_num=MOST,
        speculative_num_draft_tokens=MOST,
        ngram_corpus=Corpus(),
        server_args=SimpleNamespace(tp_size=1),
        device="cpu",
        enable_overlap=False,
    )
    squares = torch.zeros(LARGEST * MOST**2, dtype=torch.bool)
    for name in ("draft_tokens_batch", "positions_batch"):
        setattr(worker, name, [flat[: size * MOST] for size in range(LARGEST + 1)])
    for name in ("retrieve_indexes", "retrieve_next_token", "retrieve_next_sibling"):
        setattr(worker, f"{name}_batch", [rows[:size] for size in range(LARGEST + 1)])
    worker.tree_mask_batch = [squares[: size * MOST**2] for size in range(LARGEST + 1)]
    for name, value in changes.items():
        setattr(worker, name, value)
    return worker


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_the_buffers_have_the_windows_width_meanwhile(window: int) -> None:
    worker = make_worker()
    before = dict(vars(worker))
    with narrowed(worker, window, 2):
        assert worker.draft_token_num == worker.speculative_num_draft_tokens == window
        assert worker.draft_tokens_batch[2].shape == (2 * window,)
        assert worker.positions_batch[2].shape == (2 * window,)
        assert worker.retrieve_indexes_batch[2].shape == (2, window)
        assert worker.tree_mask_batch[2].shape == (2 * window**2,)
        assert worker.draft_tokens_batch[2].is_contiguous()
        worker.draft_tokens_batch[2].fill_(9)
        tokens, mask = worker.ngram_corpus.batch_get(["a", "b"], [], [])
        assert tokens.tolist() == [*range(window)] * 2
        whole = Corpus().batch_get(["a"])[1].reshape(MOST, MOST)
        assert mask.reshape(2, window, window)[1].tolist() == whole[:window, :window].tolist()
        assert worker.ngram_corpus.size == 7
    assert dict(vars(worker)) == before
    assert worker.draft_tokens_batch[2][: 2 * window].tolist() == [9] * 2 * window


def test_a_failure_leaves_the_worker_as_it_was() -> None:
    worker = make_worker()
    before = dict(vars(worker))
    with pytest.raises(RuntimeError), narrowed(worker, 2, 1):
        raise RuntimeError
    assert dict(vars(worker)) == before


def make_result(window: int) -> Any:
    tokens = torch.arange(2 * window)
    draft = SimpleNamespace(
        accept_tokens=tokens,
        draft_token_num=window,
        num_tokens_per_req=window,
        num_tokens_for_logprob_per_req=window,
    )
    return SimpleNamespace(next_draft_input=draft, accept_lens=torch.tensor([1, window]))


def test_what_the_next_step_starts_from_has_the_workers_own_width() -> None:
    result = make_result(2)
    widen(result, 2, MOST)
    assert result.next_draft_input.accept_tokens.tolist() == [0, 1, 0, 0, 2, 3, 0, 0]
    assert result.next_draft_input.draft_token_num == MOST


def batch(is_decode: bool = True) -> Any:
    mode = SimpleNamespace(is_decode=lambda: is_decode)
    return SimpleNamespace(forward_mode=mode, reqs=[object(), object()])


def test_a_step_runs_with_the_chosen_window() -> None:
    """The first ones try every window, from the widest."""
    worker, steps, seen = make_worker(), WindowedSteps(), []

    def forward() -> Any:
        seen.append(worker.draft_token_num)
        return make_result(worker.draft_token_num)

    for _ in range(3):
        result = steps.run(forward, worker, batch())
        assert result.next_draft_input.accept_tokens.shape == (2 * MOST,)
    assert seen == [4, 2, 1]


@pytest.mark.parametrize(
    ("changes", "is_decode"),
    [
        ({"device": "cuda"}, True),
        ({"enable_overlap": True}, True),
        ({"server_args": SimpleNamespace(tp_size=2)}, True),
        ({}, False),
    ],
    ids=["device", "overlap", "ranks", "prefill"],
)
def test_any_other_step_runs_as_ever(changes: dict[str, Any], is_decode: bool) -> None:
    worker, steps, seen = make_worker(**changes), WindowedSteps(), []

    def forward() -> str:
        seen.append(worker.draft_token_num)
        return "result"

    for _ in range(3):
        result: Any = steps.run(forward, worker, batch(is_decode))  # type: ignore[arg-type]
        assert result == "result"
    assert seen == [MOST] * 3
