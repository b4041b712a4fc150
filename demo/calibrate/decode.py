"""Greedy decoding of many prompts with plain torch, giving the logits of every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from demo.tasks.families import Row
from demo.tasks.tokenizer import EOS_ID, PAD_ID, VOCABULARY, encode_prompt
from demo.train.gradient import precision

BATCH_TOKENS = 16_384  # of prompts
_TEXT_OF = {index: token for token, index in VOCABULARY.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decoding step of a batch; rows that are not active ended at an earlier step."""

    logits_BV: Tensor
    tokens_B: Tensor
    active_B: Tensor


def load_model(folder: Path) -> Qwen3ForCausalLM:
    """Load an exported tier in the precision in which this machine serves it."""
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=precision()).eval()


def batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Indices of rows in batches of one family and similar length: little padding, and all answers
    of a batch end at about the same step."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (rows[i].family, len(rows[i].prompt))):
        row = rows[index]
        is_other = bool(batch) and rows[batch[0]].family != row.family
        if is_other or len(row.prompt) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def decode_steps(
    model: Qwen3ForCausalLM, prompts: Sequence[str], max_tokens: int
) -> Iterator[Step]:
    """Decode prompts until every row has ended or max_tokens are out."""
    encoded = [encode_prompt(prompt) for prompt in prompts]
    length = max(map(len, encoded))
    padding = [length - len(ids) for ids in encoded]
    ids_BT = torch.tensor([[PAD_ID] * p + ids for p, ids in zip(padding, encoded, strict=True)])
    padding_B1 = torch.tensor(padding)[:, None]
    positions_BT = torch.arange(length)[None] - padding_B1
    mask_BT = (positions_BT >= 0).long()
    positions_BT = positions_BT.clamp(min=0)
    active_B = torch.ones(len(prompts), dtype=torch.bool)
    cache = None
    for _ in range(max_tokens):
        out = model(
            ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits_BV = out.past_key_values, out.logits[:, -1].float()
        tokens_B = logits_BV.argmax(-1)
        yield Step(logits_BV=logits_BV, tokens_B=tokens_B, active_B=active_B)
        active_B = active_B & (tokens_B != EOS_ID)
        if not active_B.any():
            return
        ids_BT = tokens_B[:, None]
        mask_BT = torch.cat((mask_BT, torch.ones_like(padding_B1)), 1)
        positions_BT = positions_BT[:, -1:] + 1


def texts(steps: Sequence[Step]) -> list[str]:
    """The answers' texts, without the end-of-sequence token."""
    answers = [""] * len(steps[0].tokens_B)
    for step in steps:
        tokens, active = step.tokens_B.tolist(), step.active_B.tolist()
        for row, (token, is_active) in enumerate(zip(tokens, active, strict=True)):
            if is_active and token != EOS_ID:
                answers[row] += _TEXT_OF.get(token, "")
    return answers
