"""How good the demo's committed scores and thresholds are on prompts that nothing has used.

Example:
    python -m bench.calibration.pool --split test --chunks 3
    python -m bench.calibration.quality           # writes rows to bench/results/calibration.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.calibration.pool import complete_chunks, load_pool
from bench.harness.estimates import Estimate
from bench.harness.rows import RESULTS, facts_of_this_run, make_row, save_rows
from bench.ladder.fit import CASCADE, settings
from cascadia_sglang.calibration.calibrate import CalibratedCascade, certified
from cascadia_sglang.calibration.quality import TierQuality, tier_qualities
from cascadia_sglang.calibration.replay import CascadeReplay
from cascadia_sglang.calibration.split import Parts
from cascadia_sglang.calibration.statistics import Interval
from cascadia_sglang.calibration.thresholds import ThresholdResult, outcome_of
from cascadia_sglang.cascade_file import load_cascade
from cascadia_sglang.judge.calibration import load_calibrations

BENCH = "calibration"
MIN_PROMPTS = 5_000

Told = tuple[str, str, Estimate]


def committed(parts: Parts) -> CalibratedCascade:
    """The demo's calibrations at its thresholds, on these prompts."""
    config = load_cascade(CASCADE)
    loaded = load_calibrations(config.calibrations())
    calibrations = [loaded[index] for index in sorted(loaded)]
    asked = settings()
    replay = CascadeReplay(calibrations, parts.choose, asked.early_abort)
    thresholds = config.routing.thresholds
    chosen = outcome_of(replay.serve(thresholds), thresholds, asked.tier_cost)
    return certified(calibrations, chosen, parts.certify, asked)


def tier_estimates(tier: TierQuality) -> Iterator[Told]:
    """Variant, metric and value of one tier on what reaches it."""
    accuracy = Estimate(p50=tier.accuracy, n=tier.reached)
    yield tier.tier, "accuracy", accuracy
    for by, measured in tier.by.items():
        for metric, interval in measured.items():
            yield f"{tier.tier} by {by}", metric, estimate(interval)
    if tier.prefix_ece is not None:
        count = sum(one.n for one in tier.prefix)
        yield f"{tier.tier} prefix", "ece", Estimate(p50=tier.prefix_ece, n=count)
    for one in tier.prefix:
        yield f"{tier.tier} prefix {one.tokens}", "ece", Estimate(p50=one.ece, n=one.n)


def estimate(interval: Interval) -> Estimate:
    return Estimate(p50=interval.value, low95=interval.low, high95=interval.high, n=interval.n)


def cascade_estimates(outcome: ThresholdResult, count: int) -> Iterator[Told]:
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
        sys.exit(f"{len(pool)} prompts are answered, {MIN_PROMPTS} needed: bench.calibration.pool")
    facts = facts_of_this_run("bench.calibration.quality")
    fitted = load_pool("calibration", complete_chunks("calibration"))
    # Baselines are fitted on the calibration split; the test split certifies as a whole.
    cascade = committed(Parts(fit=fitted, choose=fitted, certify=pool))
    parts = Parts(fit=fitted, choose=fitted, certify=pool)
    told = [t for tier in tier_qualities(cascade, parts) for t in tier_estimates(tier)]
    told += cascade_estimates(cascade.held_out, len(pool))
    case = f"{Path(CASCADE).parent.name}, {len(pool)} prompts of the test split"
    rows = [
        make_row(
            facts, bench=BENCH, case=case, variant=variant, metric=metric, unit="1", value=value
        )
        for variant, metric, value in told
    ]
    for row in rows:
        print(f"{row.variant}: {row.metric} {row.p50} [{row.low95}, {row.high95}] n={row.n}")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
