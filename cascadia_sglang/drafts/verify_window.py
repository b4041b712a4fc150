"""Runs a step of SGLang's NGRAM worker with a narrower window than the one that it started with.

SGLang's buffers and its CUDA graphs have one width. So this is for workers that compute on the
host, where each row of a verification costs as much as the one before.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from cascadia_sglang.drafts.windows import VerifyWindows

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import ScheduleBatch
    from sglang.srt.managers.utils import GenerationBatchResult
    from sglang.srt.speculative.ngram_worker import NGRAMWorker

Forward = Callable[[], "GenerationBatchResult"]

# The worker's views of its buffers, by batch size; and the width of a view's rows where it has rows
# by request.
_VIEWS = {
    "draft_tokens_batch": "flat",
    "positions_batch": "flat",
    "retrieve_indexes_batch": "rows",
    "retrieve_next_token_batch": "rows",
    "retrieve_next_sibling_batch": "rows",
    "tree_mask_batch": "squares",
}


class WindowedSteps:
    """The steps of one worker, each with the window that gains most."""

    def __init__(self) -> None:
        self._windows: VerifyWindows | None = None

    def run(
        self, forward: Forward, worker: "NGRAMWorker", batch: "ScheduleBatch"
    ) -> "GenerationBatchResult":
        """Run a step of the worker."""
        if not (_is_on_host(worker) and batch.forward_mode.is_decode() and batch.reqs):
            return forward()
        most = worker.draft_token_num
        if self._windows is None:
            self._windows = VerifyWindows(most)
        window = self._windows.choose(len(batch.reqs))
        began = time.perf_counter()
        with narrowed(worker, window, len(batch.reqs)):
            result = forward()
        seconds = time.perf_counter() - began
        self._windows.observe(window, seconds, result.accept_lens.tolist())
        widen(result, window, most)
        return result


def _is_on_host(worker: "NGRAMWorker") -> bool:
    """Whether the worker computes on the host, in one process and step by step."""
    is_alone: bool = worker.server_args.tp_size == 1
    return is_alone and worker.device == "cpu" and not worker.enable_overlap


@contextmanager
def narrowed(worker: "NGRAMWorker", window: int, requests: int) -> Iterator[None]:
    """Have the worker verify so many tokens of a request while the block runs."""
    most = worker.draft_token_num
    if window == most:
        yield
        return
    saved = {name: getattr(worker, name) for name in _VIEWS}
    corpus = worker.ngram_corpus
    try:
        for name, kind in _VIEWS.items():
            setattr(worker, name, {requests: _view(saved[name][requests], kind, window, most)})
        worker.draft_token_num = worker.speculative_num_draft_tokens = window
        worker.ngram_corpus = _NarrowCorpus(corpus, window, most)
        yield
    finally:
        worker.draft_token_num = worker.speculative_num_draft_tokens = most
        worker.ngram_corpus = corpus
        for name, views in saved.items():
            setattr(worker, name, views)


def widen(result: "GenerationBatchResult", window: int, most: int) -> None:
    """Give what the next step starts from the worker's own width again: batches are merged."""
    draft = result.next_draft_input
    tokens_BW = draft.accept_tokens.view(-1, window)
    draft.accept_tokens = torch.nn.functional.pad(tokens_BW, (0, most - window)).flatten()
    draft.draft_token_num = draft.num_tokens_per_req = most
    draft.num_tokens_for_logprob_per_req = most


def _view(view: torch.Tensor, kind: str, window: int, most: int) -> torch.Tensor:
    requests = view.numel() // (most**2 if kind == "squares" else most)
    flat = view.reshape(-1)[: requests * (window**2 if kind == "squares" else window)]
    return flat.view(requests, window) if kind == "rows" else flat


class _NarrowCorpus:
    """SGLang's corpus, whose trees are cut to their first nodes: a node comes after its parent."""

    def __init__(self, corpus: Any, window: int, most: int) -> None:
        self._corpus = corpus
        self._window = window
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._corpus, name)

    def batch_get(self, *args: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        tokens, mask = self._corpus.batch_get(*args)
        window, most = self._window, self._most
        tokens_BN = tokens.reshape(-1, most)[:, :window]
        mask_BNN = mask.reshape(-1, most, most)[:, :window, :window]
        return np.ascontiguousarray(tokens_BN).ravel(), np.ascontiguousarray(mask_BNN).ravel()
