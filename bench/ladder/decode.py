"""Greedy decoding of many prompts with plain torch, giving the logits of every step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from bench.ladder.families import Row
from bench.ladder.tokenizer import EOS_ID, VOCABULARY, encode_prompt

_TEXT_OF = {index: token for token, index in VOCABULARY.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decoding step of a batch; rows that are not active ended at an earlier step."""

    logits_BV: Tensor
    tokens_B: Tensor
    active_B: Tensor


def load_model(folder: Path) -> Qwen3ForCausalLM:
    """Load an exported tier in bf16, as it is served."""
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()


def batches(rows: Sequence[Row], most: int = 512) -> Iterator[list[int]]:
    """Indices of rows in batches of one prompt length each, which need no padding."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_length[len(row.prompt)].append(index)
    for _, indices in sorted(by_length.items()):
        for start in range(0, len(indices), most):
            yield indices[start : start + most]


@torch.inference_mode()
def decode_steps(
    model: Qwen3ForCausalLM, prompts: Sequence[str], max_tokens: int
) -> Iterator[Step]:
    """Decode prompts of one length until every row has ended or max_tokens are out."""
    ids_BT = torch.tensor([encode_prompt(prompt) for prompt in prompts])
    active_B = torch.ones(len(prompts), dtype=torch.bool)
    cache = None
    for _ in range(max_tokens):
        out = model(ids_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits_BV = out.past_key_values, out.logits[:, -1].float()
        tokens_B = logits_BV.argmax(-1)
        yield Step(logits_BV=logits_BV, tokens_B=tokens_B, active_B=active_B)
        active_B = active_B & (tokens_B != EOS_ID)
        if not active_B.any():
            return
        ids_BT = tokens_B[:, None]


def texts(steps: Sequence[Step]) -> list[str]:
    """The answers' texts, without the end-of-sequence token."""
    answers = [""] * len(steps[0].tokens_B)
    for step in steps:
        tokens, active = step.tokens_B.tolist(), step.active_B.tolist()
        for row, (token, is_active) in enumerate(zip(tokens, active, strict=True)):
            if is_active and token != EOS_ID:
                answers[row] += _TEXT_OF.get(token, "")
    return answers
