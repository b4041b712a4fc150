"""What a second judge is worth in the demo: requests per second, accuracy, and who answers.

The demo's three tiers at its own thresholds: writing every answer anew, reading drafts, and reading
them with the second judge. The servers get the same questions at concurrency 64, one after the
other in turn; accuracy is compared question by question.

Example:
    python -m bench.drafts.second_judge              # adds to bench/results/verify.csv
    python -m bench.drafts.second_judge --smoke      # one short round; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench import RESULTS
from bench.drafts.rate import CONCURRENCY, ArmResult, Size, measure
from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio, spread
from bench.harness.rows import CaseRows, Facts, Row, facts_of_this_run, save_rows
from bench.prefix.serving import serving
from demo import CASCADE
from demo.tasks.families import TEST_FAMILIES

NONE, DRAFTS, SECOND = "no drafts", "drafts", "drafts and second judge"
FULL = Size(rounds=9, questions=384)
SMOKE = Size(rounds=1, questions=48)
SEED = 66_000


def configured() -> dict[str, dict[str, Any]]:
    """The cascade of every arm; the demo's file has the last one's."""
    demo = yaml.safe_load(CASCADE.read_text())
    drafts = demo["routing"]["drafts"]
    settings = {
        NONE: "off",
        DRAFTS: {**drafts, "second_judge": None},
        SECOND: drafts,
    }
    return {
        name: {**demo, "routing": {**demo["routing"], "drafts": chosen}}
        for name, chosen in settings.items()
    }


def rows_of(results: dict[str, ArmResult], facts: Facts) -> list[Row]:
    """Each arm's numbers, and those of the second judge against the others."""
    rows = CaseRows(facts, "verify.second", f"the demo, all families, concurrency {CONCURRENCY}")
    for arm, result in results.items():
        rows.add(arm, "requests per second", "1/s", spread(result.rates))
        rows.add(arm, "accuracy", "1", mean(result.right))
        visits = Counter(attempt["tier"] for attempt in result.later)
        for tier, count in sorted(visits.items()):
            share = Estimate(p50=count / len(result.right), n=len(result.right))
            rows.add(arm, f"prompts that get to {tier}", "1", share)
        rated = [attempt for attempt in result.later if "draft_score" in attempt]
        if rated:
            is_verified = [attempt["reason"] == "verified" for attempt in rated]
            confirmed = Estimate(p50=float(np.mean(is_verified)), n=len(rated))
            rows.add(arm, "rated drafts that go out", "1", confirmed)
    for baseline in (NONE, DRAFTS):
        ratio = median_ratio(results[SECOND].rates, results[baseline].rates)
        rows.add(f"{SECOND} / {baseline}", "requests per second", "1", ratio)
        apart = mean_difference(results[SECOND].right, results[baseline].right)
        rows.add(f"{SECOND} - {baseline}", "accuracy", "1", apart)
    return rows.rows


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=31850)
    parser.add_argument("--smoke", action="store_true", help="one short round; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.drafts.second_judge")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ports = {
            arm: stack.enter_context(serving(Path(name), options.port + number, config))
            for number, (arm, config) in enumerate(configured().items())
        }
        size = SMOKE if options.smoke else FULL
        rows = rows_of(measure(ports, TEST_FAMILIES, size, SEED), facts)
    if not options.smoke:
        save_rows(RESULTS / "verify.csv", rows)


if __name__ == "__main__":
    main()
