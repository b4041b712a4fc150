"""A small transformer encoder, trained here from scratch: the stronger rival of the entry model.

It sees the same token ids. It is no part of what is served: see the report for what it is worth and
how long one prompt takes it.

Shape legend: N prompts, M models whose answers it foresees, B prompts of a batch, T tokens,
D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MAX_TOKENS = 128  # the last ones of a prompt
WIDTH, LAYERS, HEADS = 64, 2, 4
BATCH, EPOCHS, PATIENCE = 32, 10, 3
RATE, DECAY, DROPOUT, TOKEN_DROPOUT = 1e-3, 0.1, 0.2, 0.15
VALIDATION = 0.1
PADDING, HIDDEN = 0, 1  # token ids stand above them


class Encoder(nn.Module):
    """Token and position embeddings, transformer layers, the mean over tokens, a logit a model."""

    def __init__(self, vocabulary: int, models: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary + 2, WIDTH, padding_idx=PADDING)
        self.positions = nn.Embedding(MAX_TOKENS, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, DROPOUT, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(WIDTH, models))
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits [B, M] of padded ids."""
        is_padding_BT = ids_BT == PADDING
        x_BTD = self.tokens(ids_BT) + self.positions.weight[: ids_BT.shape[1]]
        x_BTD = self.norm(self.layers(x_BTD, src_key_padding_mask=is_padding_BT))
        kept_BT1 = (~is_padding_BT)[..., None].to(x_BTD.dtype)
        mean_BD = (x_BTD * kept_BT1).sum(1) / kept_BT1.sum(1).clamp(min=1)
        logits_BM: Tensor = self.head(mean_BD)
        return logits_BM


def fit_encoder(
    prompt_ids: Sequence[Sequence[int]], right_MN: BoolArray, vocabulary: int, seed: int
) -> Encoder:
    """Train on prompts and on which models answer them right.

    A tenth of the prompts is left out; training ends once their loss has not fallen for `PATIENCE`
    epochs, and the weights of the best epoch are kept.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    right_NM = torch.tensor(right_MN.T.astype(np.float32))
    rows = rng.permutation(len(prompt_ids))
    cut = int(len(rows) * VALIDATION)
    left_out, fit_rows = rows[:cut], rows[cut:]
    model = Encoder(vocabulary, len(right_MN))
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(fit_rows) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    loss_of = nn.BCEWithLogitsLoss()
    best, best_weights, waited = float("inf"), model.state_dict(), 0
    for _ in range(EPOCHS):
        model.train()
        for batch in _batches(prompt_ids, fit_rows, rng):
            ids_BT = _padded([prompt_ids[i] for i in batch])
            hidden_BT = (torch.rand(ids_BT.shape) < TOKEN_DROPOUT) & (ids_BT != PADDING)
            loss = loss_of(model(ids_BT.masked_fill(hidden_BT, HIDDEN)), right_NM[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        logits_NM = _logits(model, [prompt_ids[i] for i in left_out])
        loss_now = float(loss_of(logits_NM, right_NM[left_out]))
        if loss_now < best:
            best, waited = loss_now, 0
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            waited += 1
            if waited == PATIENCE:
                break
    model.load_state_dict(best_weights)
    return model.eval()


def encoder_chances(model: Encoder, prompt_ids: Sequence[Sequence[int]]) -> FloatArray:
    """Chance that each model answers each prompt right, [M, N]."""
    chances: FloatArray = torch.sigmoid(_logits(model, prompt_ids)).double().numpy().T
    return chances


@torch.inference_mode()
def _logits(model: Encoder, prompt_ids: Sequence[Sequence[int]]) -> Tensor:
    model.eval()
    order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
    logits: list[Tensor] = [torch.empty(0)] * len(order)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        for row, logits_M in zip(rows, model(_padded([prompt_ids[i] for i in rows])), strict=True):
            logits[row] = logits_M
    return torch.stack(logits)


def _batches(
    prompt_ids: Sequence[Sequence[int]], rows: npt.NDArray[np.int64], rng: np.random.Generator
) -> Iterator[list[int]]:
    """Batches of similar length, in random order."""
    noisy = [min(len(prompt_ids[i]), MAX_TOKENS) * rng.uniform(0.8, 1.2) for i in rows]
    order = rows[np.argsort(noisy)]
    starts = np.arange(0, len(order), BATCH)
    for start in rng.permutation(starts):
        yield order[start : start + BATCH].tolist()


def _padded(prompts: Sequence[Sequence[int]]) -> Tensor:
    """Ids [B, T] of the encoder: above the tokenizer's, by those that it has of its own."""
    cut = [list(ids[-MAX_TOKENS:]) or [0] for ids in prompts]
    ids_BT = torch.full((len(cut), max(map(len, cut))), PADDING)
    for row, ids in enumerate(cut):
        ids_BT[row, : len(ids)] = torch.tensor(ids) + HIDDEN + 1
    return ids_BT
