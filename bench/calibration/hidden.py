"""Hidden states of a tier's answers, from which a probe is fitted; kept outside git.

The state is the last layer's after the final norm, as it enters the output head, at the step that
sampled a token: at an answer's last step it is the one that sampled the end. The prompts are those
of `demo.calibrate.answers`, chunk by chunk and row by row.

    python -m bench.calibration.hidden --split test --chunks 5 --threads 2

Shape legend: N rows, B rows of a batch, H hidden size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascadia_sglang.arrays import FloatArray
from demo import MODELS
from demo.calibrate.answers import chunk_rows
from demo.calibrate.decode import batches, decode_steps, load_model
from demo.calibrate.observe import CHECKPOINTS
from demo.tasks.families import MAX_ANSWER_TOKENS, Row
from demo.tasks.splits import SPLITS

CACHE = Path(__file__).parent / "cache"
PROBED = ("small", "middle")  # the last tier's score decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenStates:
    """Of N answers: at the last step, the mean over all steps, and at the step that sampled the
    k-th token; zeros there where the answer had ended before."""

    last_NH: FloatArray
    mean_NH: FloatArray
    prefix_NH: dict[int, FloatArray]

    @classmethod
    def concatenated(cls, parts: Sequence[HiddenStates]) -> HiddenStates:
        """The answers of some chunks, in their order."""
        return cls(
            last_NH=np.concatenate([part.last_NH for part in parts]),
            mean_NH=np.concatenate([part.mean_NH for part in parts]),
            prefix_NH={
                tokens: np.concatenate([part.prefix_NH[tokens] for part in parts])
                for tokens in CHECKPOINTS
            },
        )


def hidden_file(split: str, chunk: int, tier: str) -> Path:
    """Where a tier's hidden states of a chunk are kept."""
    return CACHE / "hidden" / split / f"{chunk:03d}-{tier}.npz"


def read_hidden(folder: Path, rows: Sequence[Row]) -> HiddenStates:
    """Decode every row greedily with a tier and keep what enters its output head."""
    model = load_model(folder)
    entering: list[torch.Tensor] = []

    def keep(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        entering[:] = [inputs[0][:, -1].float()]

    model.lm_head.register_forward_pre_hook(keep)
    size = model.config.hidden_size
    last_NH, sum_NH = np.zeros((len(rows), size)), np.zeros((len(rows), size))
    prefix_NH = {tokens: np.zeros((len(rows), size)) for tokens in CHECKPOINTS}
    steps_N = np.zeros(len(rows))
    for batch in batches(rows):
        indices = np.array(batch)
        steps = decode_steps(model, [rows[i].prompt for i in batch], MAX_ANSWER_TOKENS)
        for tokens, step in enumerate(steps, 1):
            active = step.active_B.numpy()
            hidden_BH = entering[0].numpy()[active]
            last_NH[indices[active]] = hidden_BH
            sum_NH[indices[active]] += hidden_BH
            steps_N[indices[active]] += 1
            if tokens in CHECKPOINTS:
                prefix_NH[tokens][indices[active]] = hidden_BH
    mean_NH = sum_NH / steps_N[:, None]
    return HiddenStates(last_NH=last_NH, mean_NH=mean_NH, prefix_NH=prefix_NH)


def decode_hidden(split: str, chunk: int, tier: str) -> None:
    """Keep a tier's hidden states of a chunk, unless they are there already."""
    path = hidden_file(split, chunk, tier)
    if path.exists():
        return
    started = time.monotonic()
    states = read_hidden(MODELS / tier, chunk_rows(split, chunk))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    arrays = {"last": states.last_NH, "mean": states.mean_NH}
    arrays |= {f"prefix_{tokens}": states.prefix_NH[tokens] for tokens in CHECKPOINTS}
    stored = {f"{name}_NH": array.astype(np.float32) for name, array in arrays.items()}
    np.savez_compressed(unfinished, **stored)
    unfinished.rename(path)
    seconds = time.monotonic() - started
    print(f"{split} {chunk} {tier}: {seconds:.0f} s", file=sys.stderr, flush=True)


def load_hidden(split: str, chunks: Sequence[int], tier: str) -> HiddenStates:
    """Hidden states of some chunks, in their order."""
    return HiddenStates.concatenated([_load_chunk(split, chunk, tier) for chunk in chunks])


def _load_chunk(split: str, chunk: int, tier: str) -> HiddenStates:
    with np.load(hidden_file(split, chunk, tier)) as stored:
        return HiddenStates(
            last_NH=stored["last_NH"].astype(np.float64),
            mean_NH=stored["mean_NH"].astype(np.float64),
            prefix_NH={t: stored[f"prefix_{t}_NH"].astype(np.float64) for t in CHECKPOINTS},
        )


def complete_hidden(split: str, chunks: Sequence[int]) -> list[int]:
    """Of some chunks those whose hidden states are there for every probed tier."""
    return [c for c in chunks if all(hidden_file(split, c, tier).exists() for tier in PROBED)]


def main() -> None:
    """Read hidden states of chunks of a split with every probed tier."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for chunk in range(args.first, args.first + args.chunks):
        for tier in PROBED:
            decode_hidden(args.split, chunk, tier)


if __name__ == "__main__":
    main()
