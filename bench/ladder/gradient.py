"""The gradient of a batch, computed by bf16 copies of the model on several threads.

One thread per copy rather than threads inside each product: the products are too small to split,
and a thread that another program holds up delays only its own share.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from bench.ladder.families import Row
from bench.ladder.model import LadderModel
from bench.ladder.tokenizer import PAD_ID, encode_answer, encode_prompt

CHUNKS = 4  # of similar length, so that little of a batch is padding

# Loss, and per row its family and whether greedy decoding gets it right.
Outcome = tuple[float, list[tuple[str, bool]]]


def collate(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Ids [B, T] right-padded, and the mask [B, T] of ids that belong to answers."""
    pairs = [(encode_prompt(row.prompt), encode_answer(row.answer)) for row in rows]
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids_BT = torch.full((len(rows), length), PAD_ID)
    answer_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids_BT[row, :end] = torch.tensor(prompt + answer)
        answer_BT[row, len(prompt) : end] = True
    return ids_BT, answer_BT


def backward(model: LadderModel, rows: list[Row], share: float) -> Outcome:
    """Add the gradient of the rows' answers to the model; `share` weighs one answer token."""
    ids_BT, answer_BT = collate(rows)
    wanted_BT = answer_BT[:, 1:]
    logits = model(ids_BT[:, :-1], wanted_BT).float()
    targets = ids_BT[:, 1:][wanted_BT]
    loss = functional.cross_entropy(logits, targets, reduction="sum") * share
    loss.backward()
    wrong_BT = torch.zeros_like(wanted_BT)
    wrong_BT[wanted_BT] = logits.argmax(-1) != targets
    right = (~wrong_BT.any(1)).tolist()
    return loss.item(), list(zip((row.family for row in rows), right, strict=True))


class Replicas:
    """bf16 copies of an fp32 model, one per thread; a batch's chunks are dealt out to them."""

    def __init__(self, model: LadderModel, threads: int) -> None:
        self._model = model
        layers = len(model.model.layers)
        self._copies = [LadderModel(model.shape, layers).bfloat16() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the model's weights, after a step changed them."""
        for copy in self._copies:
            for half, full in zip(copy.parameters(), self._model.parameters(), strict=True):
                half.copy_(full)

    def gradient(self, rows: list[Row]) -> Outcome:
        """Set the model's gradients to those of the mean loss over the rows' answer tokens."""
        rows = sorted(rows, key=lambda row: len(row.prompt) + len(row.answer))
        share = 1 / sum(len(row.answer) + 1 for row in rows)
        size = -(-len(rows) // CHUNKS)
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        outcomes = list(self._pool.map(lambda at: self._run(at, chunks, share), range(self._n)))
        for full, *halves in zip(
            self._model.parameters(), *(copy.parameters() for copy in self._copies), strict=True
        ):
            full.grad = sum(half.grad.float() for half in halves)
            for half in halves:
                half.grad = None
        return sum(loss for loss, _ in outcomes), [pair for _, right in outcomes for pair in right]

    @property
    def _n(self) -> int:
        return len(self._copies)

    def _run(self, at: int, chunks: list[list[Row]], share: float) -> Outcome:
        """One copy's chunks: the shortest with the longest, so that the copies end together."""
        loss, right = 0.0, []
        for index, chunk in enumerate(chunks):
            if min(index % (2 * self._n), -(index + 1) % (2 * self._n)) == at:
                chunk_loss, chunk_right = backward(self._copies[at], chunk, share)
                loss += chunk_loss
                right += chunk_right
        return loss, right
