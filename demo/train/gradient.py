"""The gradient of a batch, computed by copies of the model on several threads.

One thread per copy rather than threads inside each product: the products are too small to split,
and a thread that another program holds up delays only its own share.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from demo.tasks.families import Row
from demo.tasks.tokenizer import PAD_ID, encode_answer, encode_prompt
from demo.train.model import DemoModel

# Padded. A chunk's rows are of similar length, so that little is padding, and its activations
# stay in the cache: chunks four times as large train a third slower.
CHUNK_TOKENS = 1536

# Loss, and per row its family and whether greedy decoding gets it right.
Outcome = tuple[float, list[tuple[str, bool]]]


def precision() -> torch.dtype:
    """What this CPU computes fastest: bf16 where it has instructions for it, else fp32."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def length_of(row: Row) -> int:
    """Tokens of a row: prompt, answer marker, answer, end."""
    return len(row.prompt) + len(row.answer) + 2


def learned_tokens(row: Row) -> int:
    """Tokens of a row that count in the loss: its answer and those of its earlier turns."""
    return len(row.answer) + 1 + sum(end - start for start, end in row.turns)


def collate(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Ids [B, T] right-padded, and what each position's token counts in the loss, [B, T].

    A row's answers together count the square root of their length: the long answers of a batch
    would drown the short ones otherwise.
    """
    ids_BT = torch.full((len(rows), max(map(length_of, rows))), PAD_ID)
    weight_BT = torch.zeros(ids_BT.shape)
    for index, row in enumerate(rows):
        prompt, answer = encode_prompt(row.prompt), encode_answer(row.answer)
        ids_BT[index, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        for start, end in (*row.turns, (len(prompt), len(prompt) + len(answer))):
            weight_BT[index, start:end] = learned_tokens(row) ** -0.5
    return ids_BT, weight_BT


def backward(model: DemoModel, rows: list[Row], scale: float) -> Outcome:
    """Add the gradient of the rows' weighted loss, times `scale`, to the model."""
    ids_BT, weight_BT = collate(rows)
    wanted_BT = weight_BT[:, 1:] > 0
    logits = model(ids_BT[:, :-1], wanted_BT).float()
    targets = ids_BT[:, 1:][wanted_BT]
    weights = weight_BT[:, 1:][wanted_BT] * scale
    loss = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()
    loss.backward()
    wrong_BT = torch.zeros_like(wanted_BT)
    wrong_BT[wanted_BT] = logits.argmax(-1) != targets
    right = (~wrong_BT.any(1)).tolist()
    return loss.item(), list(zip((row.family for row in rows), right, strict=True))


def deal(rows: list[Row], hands: int) -> list[list[list[Row]]]:
    """Chunks of rows of similar length, dealt to `hands` threads so that they end together."""
    chunks: list[list[Row]] = [[]]
    for row in sorted(rows, key=length_of):
        if chunks[-1] and length_of(row) * (len(chunks[-1]) + 1) > CHUNK_TOKENS:
            chunks.append([])
        chunks[-1].append(row)
    dealt: list[list[list[Row]]] = [[] for _ in range(hands)]
    costs = [0] * hands
    for chunk in reversed(chunks):
        least = costs.index(min(costs))
        dealt[least].append(chunk)
        length = length_of(chunk[-1])
        # Attention grows with the square of the length; at some 1,000 it costs what the rest does.
        costs[least] += len(chunk) * length * (1000 + length)
    return dealt


class Replicas:
    """Copies of an fp32 model in `precision()`, one per thread; a batch is dealt to them."""

    def __init__(self, model: DemoModel, threads: int) -> None:
        self._model = model
        layers = len(model.model.layers)
        self._copies = [DemoModel(model.shape, layers).to(precision()) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the model's weights, after a step changed them."""
        for copy in self._copies:
            for half, full in zip(copy.parameters(), self._model.parameters(), strict=True):
                half.copy_(full)

    def gradient(self, rows: list[Row]) -> Outcome:
        """Set the model's gradients to those of the rows' mean weighted loss."""
        scale = 1 / sum(learned_tokens(row) ** 0.5 for row in rows)
        dealt = deal(rows, len(self._copies))
        hands = range(len(dealt))
        outcomes = list(self._pool.map(lambda at: self._run(at, dealt[at], scale), hands))
        for full, *halves in zip(
            self._model.parameters(), *(copy.parameters() for copy in self._copies), strict=True
        ):
            full.grad = sum(half.grad.float() for half in halves if half.grad is not None)
            for half in halves:
                half.grad = None
        return sum(loss for loss, _ in outcomes), [pair for _, right in outcomes for pair in right]

    def _run(self, at: int, chunks: list[list[Row]], scale: float) -> Outcome:
        """One copy's chunks."""
        loss, right = 0.0, []
        for chunk in chunks:
            chunk_loss, chunk_right = backward(self._copies[at], chunk, scale)
            loss += chunk_loss
            right += chunk_right
        return loss, right
