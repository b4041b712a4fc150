"""Answers of the demo's tiers to many prompts, as the judge sees them; kept outside git.

    python -m demo.calibrate.answers --split test --chunks 12 --threads 2

A chunk is 2,000 prompts with a seed of its own. What is kept are the judge's states, from which the
features follow, so a change of the features does not cost the decoding again.

Shape legend: N rows, S state columns.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.same_answer import same_answer
from cascadia_sglang.judge.state import STATE_COLUMNS
from demo import FOLDER, MODELS
from demo.calibrate.observe import CHECKPOINTS, Observation, observe
from demo.tasks.families import Row
from demo.tasks.splits import SPLITS, sample
from demo.train.tiers import TIERS

CHUNK = 2_000
FIRST_SEED = 40_000  # of chunk 0; no other sample uses these seeds
CACHE = FOLDER / "cache"


def chunk_rows(split: str, chunk: int) -> list[Row]:
    """The prompts of a chunk."""
    return sample(split, FIRST_SEED + chunk, CHUNK)


def file_of(split: str, chunk: int, tier: str) -> Path:
    """Where a tier's answers to a chunk are kept."""
    return CACHE / split / f"{chunk:03d}-{tier}.npz"


def complete_chunks(split: str) -> list[int]:
    """Chunks that every tier has answered."""
    files = sorted((CACHE / split).glob(f"[0-9]*-{next(iter(TIERS))}.npz"))
    chunks = [int(path.name.split("-")[0]) for path in files]
    return [c for c in chunks if all(file_of(split, c, tier).exists() for tier in TIERS)]


def decode_chunk(split: str, chunk: int, tier: str) -> None:
    """Answer a chunk with a tier and keep what the judge saw, unless that is there already."""
    path = file_of(split, chunk, tier)
    if path.exists():
        return
    started = time.monotonic()
    observation = observe(MODELS / tier, chunk_rows(split, chunk))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        final_NS=observation.final_NS,
        prompt_tokens_N=observation.prompt_tokens_N,
        truncated_N=observation.truncated_N,
        correct_N=observation.correct_N,
        text_N=observation.text_N,
        **{f"prefix_{tokens}_NS": observation.prefix_NS[tokens] for tokens in CHECKPOINTS},
    )
    unfinished.rename(path)
    seconds = time.monotonic() - started
    print(f"{split} {chunk} {tier}: {seconds:.0f} s", file=sys.stderr, flush=True)


def load_chunk(split: str, chunk: int, tier: str) -> Observation:
    """What the judge saw of a chunk."""
    with np.load(file_of(split, chunk, tier)) as arrays:
        return Observation(
            final_NS=_all_columns(arrays["final_NS"]),
            prefix_NS={t: _all_columns(arrays[f"prefix_{t}_NS"]) for t in CHECKPOINTS},
            prompt_tokens_N=arrays["prompt_tokens_N"],
            truncated_N=arrays["truncated_N"],
            correct_N=arrays["correct_N"],
            text_N=arrays.get("text_N"),
        )


def _all_columns(kept_NS: FloatArray) -> FloatArray:
    """States with the columns that were added since: none of these answers was constrained."""
    missing = STATE_COLUMNS - kept_NS.shape[1]
    return np.pad(kept_NS, ((0, 0), (0, missing)))


def pool_of(rows: Sequence[Row], observations: Sequence[Observation], prefix: str = "") -> Pool:
    """The arrays of a calibration, of every tier's observation; ids count the rows."""
    return Pool(
        tiers=tuple(tier_answers(observation, observations[-1]) for observation in observations),
        ids=tuple(f"{prefix}{index}" for index in range(len(rows))),
        prompt_keys=tuple(row.prompt.strip() for row in rows),
        groups=tuple(row.family for row in rows),
        constrained_N=np.zeros(len(rows), dtype=bool),
    )


def tier_answers(observation: Observation, last: Observation | None = None) -> TierAnswers:
    """The arrays of one tier; agreement with the last one where both kept their answers."""
    features_NF = observation.features()
    prefix_NF = {}
    for tokens in CHECKPOINTS:
        prefix_NF[tokens] = np.full(features_NF.shape, np.nan)
        prefix_NF[tokens][observation.longer_than(tokens)] = observation.prefix_features(tokens)
    return TierAnswers(
        features_NF=features_NF,
        prefix_NF=prefix_NF,
        right_N=observation.correct_N,
        same_N=_same(observation, last),
    )


def _same(observation: Observation, last: Observation | None) -> BoolArray | None:
    if last is None or observation.text_N is None or last.text_N is None:
        return None
    pairs = zip(observation.text_N, last.text_N, strict=True)
    return np.array([same_answer(str(text), str(last_text)) for text, last_text in pairs])


def load_pool(split: str, chunks: Sequence[int]) -> Pool:
    """Complete chunks as one pool; the ids name split, chunk and row."""
    pools = [
        pool_of(
            chunk_rows(split, chunk),
            [load_chunk(split, chunk, tier) for tier in TIERS],
            f"{split}-{chunk}-",
        )
        for chunk in chunks
    ]
    return Pool.concatenated(pools)


def main() -> None:
    """Answer chunks of a split with every tier."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for chunk in range(args.first, args.first + args.chunks):
        for tier in TIERS:
            decode_chunk(args.split, chunk, tier)


if __name__ == "__main__":
    main()
