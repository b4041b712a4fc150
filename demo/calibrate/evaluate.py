"""Prints a tier's accuracy on its test split, per family and size, decoding greedily.

python -m demo.calibrate.evaluate demo/models/small
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from demo.calibrate.decode import batches, decode_steps, load_model, texts
from demo.tasks.families import FAMILIES, MAX_ANSWER_TOKENS, Row, is_correct
from demo.tasks.splits import SPLITS, sample


def answers(folder: Path, rows: Sequence[Row]) -> list[str]:
    """Greedy answers of an exported tier, one per row."""
    model = load_model(folder)
    replies = [""] * len(rows)
    for indices in batches(rows):
        steps = list(decode_steps(model, [rows[i].prompt for i in indices], MAX_ANSWER_TOKENS))
        for index, text in zip(indices, texts(steps), strict=True):
            replies[index] = text
    return replies


def report(rows: Sequence[Row], right: Sequence[bool]) -> str:
    """A markdown table: accuracy per family, over all its sizes and per size."""
    counts: Counter[tuple[str, int]] = Counter()
    good: Counter[tuple[str, int]] = Counter()
    for row, is_right in zip(rows, right, strict=True):
        for key in ((row.family, row.size), (row.family, 0), ("all", 0)):
            counts[key] += 1
            good[key] += is_right
    lines = ["| family | rows | accuracy | per size |", "|---|---|---|---|"]
    for family in [name for name in (*FAMILIES, "all") if counts[name, 0]]:
        sizes = sorted(size for name, size in counts if name == family and size)
        per_size = " ".join(f"{s}:{good[family, s] / counts[family, s]:.2f}" for s in sizes)
        share = good[family, 0] / counts[family, 0]
        lines.append(f"| {family} | {counts[family, 0]} | {share:.3f} | {per_size} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate an exported tier."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = sample(args.split, args.seed, args.rows)
    right = [is_correct(r, a) for r, a in zip(rows, answers(args.folder, rows), strict=True)]
    print(report(rows, right))


if __name__ == "__main__":
    main()
