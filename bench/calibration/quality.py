"""How good the demo's committed scores and thresholds are on prompts that nothing has used.

Example:
    python -m demo.calibrate.answers --split test --chunks 3
    python -m bench.calibration.quality           # writes rows to bench/results/calibration.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import RESULTS
from bench.harness.estimates import Estimate
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.calibration.fit.split import Parts
from cascadia_sglang.calibration.fit.statistics import Interval
from cascadia_sglang.calibration.fit.thresholds import ThresholdResult
from cascadia_sglang.calibration.report.quality import TierQuality, tier_qualities
from demo import CASCADE
from demo.calibrate import committed
from demo.calibrate.answers import complete_chunks, load_pool

BENCH = "calibration"
MIN_PROMPTS = 5_000

MetricEstimate = tuple[str, str, Estimate]


def tier_estimates(tier: TierQuality) -> Iterator[MetricEstimate]:
    """Variant, metric and value of one tier on what reaches it."""
    accuracy = Estimate(p50=tier.accuracy, n=tier.reached)
    yield tier.tier, "accuracy", accuracy
    for by, measured in tier.by.items():
        for metric, interval in measured.items():
            yield f"{tier.tier} by {by}", metric, estimate(interval)
    if tier.prefix_ece is not None:
        count = sum(prefix.n for prefix in tier.prefix)
        yield f"{tier.tier} prefix", "ece", Estimate(p50=tier.prefix_ece, n=count)
    for prefix in tier.prefix:
        yield f"{tier.tier} prefix {prefix.tokens}", "ece", Estimate(p50=prefix.ece, n=prefix.n)


def estimate(interval: Interval) -> Estimate:
    return Estimate(p50=interval.value, low95=interval.low, high95=interval.high, n=interval.n)


def cascade_estimates(outcome: ThresholdResult, count: int) -> Iterator[MetricEstimate]:
    """The cascade as a whole."""
    for metric, value in (
        ("accuracy", outcome.quality),
        ("accuracy_below_last_tier", outcome.loss),
        ("share_at_last_tier", outcome.shares[-1]),
    ):
        yield "cascade", metric, Estimate(p50=value, n=count)


def main() -> None:
    """Measure on every complete chunk of the test split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--smoke", action="store_true", help="any number of prompts; writes nothing"
    )
    args = parser.parse_args()
    pool = load_pool("test", complete_chunks("test"))
    if len(pool) < MIN_PROMPTS and not args.smoke:
        sys.exit(f"{len(pool)} prompts are answered, {MIN_PROMPTS} needed: demo.calibrate.answers")
    facts = facts_of_this_run("bench.calibration.quality")
    fitted = load_pool("calibration", complete_chunks("calibration"))
    # Baselines are fitted on the calibration split; the test split certifies as a whole.
    parts = Parts(fit=fitted, choose=fitted, certify=pool)
    cascade = committed.cascade(parts)
    estimates = [t for tier in tier_qualities(cascade, parts) for t in tier_estimates(tier)]
    estimates += cascade_estimates(cascade.held_out, len(pool))
    case = f"{Path(CASCADE).parent.name}, {len(pool)} prompts of the test split"
    rows = [
        make_row(
            facts, bench=BENCH, case=case, variant=variant, metric=metric, unit="1", value=value
        )
        for variant, metric, value in estimates
    ]
    for row in rows:
        print(f"{row.variant}: {row.metric} {row.p50} [{row.low95}, {row.high95}] n={row.n}")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
