"""How well the built-in rank orders the demo's answers by truth, beside other weights.

The weights were chosen among these on 6,000 prompts of the calibration split, and on 512 answers of
Qwen2.5-Coder-0.5B that no bench counts. What stands in the results is measured on the test split,
which chose nothing. AUROC is the chance that a right answer ranks above a wrong one of the same
tier.

Example:
    python -m demo.calibrate.answers --split test --chunks 2
    python -m bench.calibration.rank           # writes rows to bench/results/rank.csv
    python -m bench.calibration.rank --smoke   # made-up answers; writes nothing

Shape legend: N answers, F base features.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.paired import auroc_difference
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.statistics import auroc
from cascadia_sglang.judge.builtin_rank import WEIGHTS
from cascadia_sglang.judge.features import FEATURES
from demo.calibrate.answers import complete_chunks, load_pool
from demo.train.tiers import TIERS

BENCH = "rank"
BASELINE = "min_logprob"
# Weights on raw features; only their proportions count.
CANDIDATES: dict[str, dict[str, float]] = {
    "built-in": WEIGHTS,
    "min_logprob": {"min_logprob": 1.0},
    "mean_logprob": {"mean_logprob": 1.0},
    "tail_logprob": {"tail_logprob": 1.0},
    "max_entropy": {"max_entropy": -1.0},
    "mean_entropy": {"mean_entropy": -1.0},
    "min_margin": {"min_margin": 1.0},
    "mean_margin": {"mean_margin": 1.0},
    # Grows with an answer's length, which must not decide; here as a bar.
    "sequence_logit": {"sequence_logit": 1.0},
    "min + 1 mean log-probability": {"min_logprob": 1.0, "mean_logprob": 1.0},
    "min + 2 mean log-probability": {"min_logprob": 1.0, "mean_logprob": 2.0},
    "min + 4 mean log-probability": {"min_logprob": 1.0, "mean_logprob": 4.0},
    "min log-probability - max entropy": {"min_logprob": 1.0, "max_entropy": -1.0},
    "weakest logit + 2 mean log-probability": {"weakest_logit": 1.0, "mean_logprob": 2.0},
    "weakest logit - max entropy": {"weakest_logit": 1.0, "max_entropy": -1.0},
    "weakest logit - max entropy + 4 mean log-probability": {
        "weakest_logit": 1.0,
        "max_entropy": -1.0,
        "mean_logprob": 4.0,
    },
}

MetricEstimate = tuple[str, str, Estimate]


def ordered(features_NF: FloatArray, weights: dict[str, float]) -> FloatArray:
    """The weighted sum of each answer's features, [N]."""
    weights_F = np.array([weights.get(name, 0.0) for name in FEATURES])
    used_F = weights_F != 0.0
    order_N: FloatArray = features_NF[:, used_F] @ weights_F[used_F]
    return order_N


def compared(features_NF: FloatArray, right_N: BoolArray) -> Iterator[MetricEstimate]:
    """Candidate, metric and value of one tier's answers."""
    baseline_N = ordered(features_NF, CANDIDATES[BASELINE])
    for name, weights in CANDIDATES.items():
        order_N = ordered(features_NF, weights)
        yield name, "auroc", Estimate(p50=auroc(order_N, right_N), n=len(right_N))
        if name != BASELINE:
            difference = auroc_difference(order_N, baseline_N, right_N)
            yield name, f"auroc_less_{BASELINE}", difference


def stored(split: str) -> Iterator[tuple[str, FloatArray, BoolArray]]:
    """The stored answers of every tier but the last, by its name."""
    pool = load_pool(split, complete_chunks(split))
    for name, tier in zip(list(TIERS)[:-1], pool.tiers, strict=False):
        yield name, tier.features_NF, tier.right_N


def made_up() -> Iterator[tuple[str, FloatArray, BoolArray]]:
    """A few answers whose features say something of their truth."""
    rng = np.random.default_rng(0)
    right_N = rng.random(100) < 0.7
    yield "made up", rng.normal(right_N[:, np.newaxis], 1.0, (100, len(FEATURES))), right_N


def main() -> None:
    """Measure every candidate on the stored answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=("test", "calibration"), default="test")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    if not args.smoke and not complete_chunks(args.split):
        sys.exit(f"no stored answers: python -m demo.calibrate.answers --split {args.split}")
    facts = facts_of_this_run("bench.calibration.rank")
    rows = []
    for tier, features_NF, right_N in made_up() if args.smoke else stored(args.split):
        for name, metric, value in compared(features_NF, right_N):
            print(f"{tier}: {name}: {metric} {value.p50:.4f} [{value.low95}, {value.high95}]")
            row = make_row(
                facts,
                bench=BENCH,
                case=f"{tier}, {args.split} split",
                variant=name,
                metric=metric,
                unit="1",
                value=value,
            )
            rows.append(row)
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
