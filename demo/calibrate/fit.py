"""Fits the demo's calibration files and entry model, and chooses its cascade file's thresholds.

    python -m demo.calibrate.fit

What `cascadia calibrate` does with the answers of its server, on answers that are decoded here, in
this process, which is faster; a test compares the features. Only the calibration split is used.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import numpy as np
import torch

from cascadia_sglang.calibration.fit.calibrate import Settings, calibrate_parts
from cascadia_sglang.calibration.fit.entry_model import LabelledPrompts
from cascadia_sglang.calibration.fit.split import split_sample
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.report.output import write_entry_model
from cascadia_sglang.calibration.report.page import page
from cascadia_sglang.calibration.report.report import examine, reported_calibrations
from cascadia_sglang.config.cascade_file import load_cascade
from cascadia_sglang.judge.calibration import save_calibration
from demo import CASCADE, FOLDER, MODELS
from demo.calibrate.answers import chunk_rows, decode_chunk, load_chunk, load_pool
from demo.tasks.tokenizer import build_tokenizer, encode_prompt
from demo.train.tiers import TIERS

SPLIT = "calibration"
CHUNKS = 10
# Of more prompts, that fit the entry model alone: small's errors in long sums are few, and it takes
# many to tell them by the prompt.
ENTRY_CHUNKS = range(10, 20)
# Seconds of the machine an answer of each tier takes, in units of the small one's: the inverse of
# what each alone serves, at concurrency 64 (bench/results/serving.md); the large one, which few
# requests reach, serves them one at a time (bench/results/serving_concurrency_1.md).
TIER_COST = (1.0, 2.3, 44.0)
MAX_LOSS = 0.006
REPORT = FOLDER / "calibration.md"


def settings() -> Settings:
    """What the demo asks for: at most 0.6 points below the large tier, as cheap as can be."""
    return Settings(
        tier_names=tuple(TIERS),
        tier_cost=TIER_COST,
        target=Target(kind="loss", value=MAX_LOSS),
        early_abort=load_cascade(CASCADE).routing.early_abort,
    )


def with_thresholds(text: str, thresholds: tuple[float, ...]) -> str:
    """A cascade file with other thresholds, its comments as they are."""
    listed = ", ".join(f"{threshold:g}" for threshold in thresholds)
    changed, count = re.subn(r"(?m)^  thresholds: .*$", f"  thresholds: [{listed}]", text)
    if count != 1:
        raise ValueError(f"{CASCADE} has {count} lines of thresholds, needed: one")
    return changed


def labelled_prompts(chunks: Sequence[int]) -> LabelledPrompts:
    """Chunks that every tier but the last has answered."""
    judged = list(TIERS)[:-1]
    for chunk in chunks:
        for tier in judged:
            decode_chunk(SPLIT, chunk, tier)
    return LabelledPrompts(
        prompt_ids=[encode_prompt(r.prompt) for chunk in chunks for r in chunk_rows(SPLIT, chunk)],
        right_HN=np.array(
            [
                np.concatenate([load_chunk(SPLIT, chunk, tier).correct_N for chunk in chunks])
                for tier in judged
            ]
        ),
    )


def main() -> None:
    """Decode what is not decoded yet, fit, choose, certify; write the files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for chunk in range(CHUNKS):
        for tier in TIERS:
            decode_chunk(SPLIT, chunk, tier)
    pool = load_pool(SPLIT, range(CHUNKS))
    parts = split_sample(pool)
    cascade = calibrate_parts(parts, settings())
    report = examine(cascade, parts, "exact")
    for name, calibration in reported_calibrations(report, parts).items():
        save_calibration(calibration, MODELS / name / "calibration.json")
    CASCADE.write_text(with_thresholds(CASCADE.read_text(), cascade.thresholds))
    text = page(report)
    REPORT.write_text(text)
    print(text)
    rows = [row for chunk in range(CHUNKS) for row in chunk_rows(SPLIT, chunk)]
    prompt_ids = [encode_prompt(row.prompt) for row in rows]
    vocabulary = build_tokenizer().get_vocab()
    for line in write_entry_model(
        cascade, pool, prompt_ids, vocabulary, FOLDER, labelled_prompts(ENTRY_CHUNKS)
    ):
        print(line)


if __name__ == "__main__":
    main()
