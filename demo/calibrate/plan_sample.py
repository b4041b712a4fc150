"""Writes the demo's planner sample, from which its page predicts what other thresholds would do.

    python -m demo.calibrate.plan_sample

What `cascadia calibrate` writes as sample.json, on answers that are decoded here. The prompts are
none that the demo's files were fitted on.
"""

from __future__ import annotations

import argparse

import msgspec
import numpy as np
import torch

from cascadia_sglang.calibration.report.planner_inputs import whole_scores
from cascadia_sglang.planner.thresholds.sample import PlanSample, SampleRow
from demo import FOLDER
from demo.calibrate import committed
from demo.calibrate.answers import decode_chunk, load_chunk, load_pool
from demo.calibrate.fit import CHUNKS, ENTRY_CHUNKS, SPLIT
from demo.train.tiers import TIERS

SAMPLE = FOLDER / "sample.json"
# Behind the chunks that fitted the scores and the entry model.
CHUNK = CHUNKS + len(ENTRY_CHUNKS)
ROWS = 1_500
_DIGITS = 6


def main() -> None:
    """Decode what is not decoded yet, and write the sample."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for tier in TIERS:
        decode_chunk(SPLIT, CHUNK, tier)
    pool = load_pool(SPLIT, [CHUNK]).take(np.arange(ROWS))
    score_NT = whole_scores(committed.calibrations(), pool).round(_DIGITS)
    tokens_NT = np.column_stack([np.nan_to_num(tier.tokens(), nan=1.0) for tier in pool.tiers])
    prompt_N = load_chunk(SPLIT, CHUNK, next(iter(TIERS))).prompt_tokens_N
    rows = [
        SampleRow(
            scores=scores,
            correct=correct,
            input_tokens=max(1, round(float(prompt_tokens))),
            output_tokens=[max(1, round(tokens)) for tokens in answer_tokens],
        )
        for scores, correct, prompt_tokens, answer_tokens in zip(
            score_NT.tolist(),
            pool.right().astype(float).tolist(),
            prompt_N[:ROWS],
            tokens_NT.tolist(),
            strict=True,
        )
    ]
    sample = msgspec.to_builtins(PlanSample(version=1, tiers=list(TIERS), rows=rows))
    for row in sample["rows"]:
        # There is no entry model's chance, and no two prompts need telling apart.
        del row["entry"], row["prompt"]
    text = msgspec.json.encode(sample).decode().replace('},{"', '},\n{"')
    SAMPLE.write_text(text + "\n")
    print(f"{SAMPLE}: {len(rows)} prompts")


if __name__ == "__main__":
    main()
