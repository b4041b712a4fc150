"""How well the built-in rank orders two real models' answers, beside `min_logprob`.

The answers are the recorded ones. Nothing is fitted or chosen on them.

Example:
    python -m bench.real.rank           # adds rows to bench/results/real.csv
    python -m bench.real.rank --smoke   # made-up answers; writes nothing

Shape legend: N answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.paired import auroc_difference
from bench.harness.ranks import ranks
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.real.observed import TIERS, ModelAnswers, load_observed
from bench.real.questions import MIXES, RealQuestion, questions
from cascadia_sglang.arrays import BoolArray, FloatArray
from cascadia_sglang.calibration.fit.statistics import auroc
from cascadia_sglang.judge.features import FEATURES

BENCH = "real.rank"
CASE = "recorded answers of two real models"
SMOKE_MIX_SIZE = 40
_MIN_LOGPROB = FEATURES.index("min_logprob")

MetricEstimate = tuple[str, str, Estimate]


def compared(name: str, features_NF: FloatArray, right_N: BoolArray) -> Iterator[MetricEstimate]:
    """Variant, metric and value of one model's answers."""
    rank_N, least_N = ranks(features_NF), features_NF[:, _MIN_LOGPROB]
    count = len(right_N)
    yield name, "accuracy", Estimate(p50=float(right_N.mean()), n=count)
    yield name, "auroc_rank", Estimate(p50=auroc(rank_N, right_N), n=count)
    yield name, "auroc_min_logprob", Estimate(p50=auroc(least_N, right_N), n=count)
    yield name, "auroc_rank_less_min_logprob", auroc_difference(rank_N, least_N, right_N)


def by_mix(
    questions: Sequence[RealQuestion], observed: Mapping[str, ModelAnswers]
) -> Iterator[MetricEstimate]:
    """Of each model: all mixes together, then each."""
    mix_N = np.array([question.mix for question in questions])
    for tier, seen in observed.items():
        yield from compared(tier, seen.features_NF, seen.right_N)
        for mix in MIXES:
            own_N = mix_N == mix
            yield from compared(f"{tier}, {mix}", seen.features_NF[own_N], seen.right_N[own_N])


def made_up(questions: Sequence[RealQuestion]) -> dict[str, ModelAnswers]:
    """Answers of both models whose features say something of their truth."""
    rng = np.random.default_rng(0)
    by_tier = {}
    for tier in TIERS:
        right_N = rng.random(len(questions)) < 0.7
        features_NF = rng.normal(right_N[:, np.newaxis], 1.0, (len(questions), len(FEATURES)))
        by_tier[tier] = ModelAnswers(
            texts=("",) * len(questions), features_NF=features_NF, right_N=right_N
        )
    return by_tier


def main() -> None:
    """Measure and add the rows."""
    parser = argparse.ArgumentParser(description="AUROC of the rank and of min_logprob.")
    parser.add_argument("--smoke", action="store_true", help="made-up answers; writes nothing")
    args = parser.parse_args()
    facts = facts_of_this_run("bench.real.rank")
    real_questions = questions(mix_size=SMOKE_MIX_SIZE) if args.smoke else questions()
    observed = made_up(real_questions) if args.smoke else load_observed(real_questions)
    rows = [
        make_row(
            facts, bench=BENCH, case=CASE, variant=variant, metric=metric, unit="1", value=value
        )
        for variant, metric, value in by_mix(real_questions, observed)
    ]
    for row in rows:
        print(f"{row.variant}: {row.metric} {row.p50} [{row.low95}, {row.high95}]")
    if not args.smoke:
        save_rows(RESULTS / "real.csv", rows)


if __name__ == "__main__":
    main()
