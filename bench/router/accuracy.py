"""What the cascade's answers are worth: its accuracy and its speed beside each tier alone.

One server runs the demo cascade. The same unseen prompts of the ladder's test split go through
the cascade at its own thresholds and to every tier pinned, block by block; which comes first
changes from block to block. Answers are greedy and checked exactly.

Example:
    python -m bench.router.accuracy                 # writes bench/results/accuracy.{csv,md}
    python -m bench.router.accuracy --smoke         # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.harness.client import Round, send_all
from bench.harness.estimates import Estimate, mean, mean_difference, spread
from bench.harness.rows import (
    RESULTS,
    Facts,
    Row,
    facts_of_this_run,
    make_row,
    save_rows,
    source_line,
)
from bench.harness.server import running_server
from bench.ladder.families import Row as Question
from bench.ladder.families import is_correct
from bench.router.load import questions, requests, text_of, tier_of

BENCH = "accuracy"
CASCADE = "cascade"
SEED = 20_261


@dataclass(slots=True, kw_only=True)
class Arm:
    """One way to answer, and what came of it; entry i of each list belongs to question i."""

    name: str
    headers: dict[str, str]
    right: list[bool] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)  # a block

    def add(self, block: Sequence[Question], sent: Round) -> None:
        """Take the replies to a block of questions."""
        for question, reply in zip(block, sent.replies, strict=True):
            self.right.append(is_correct(question, text_of(reply)))
            self.tiers.append(tier_of(reply))
        self.requests_per_s.append(sent.requests_per_s)


def tier_names(config: Path) -> list[str]:
    """Names of a cascade file's tiers, smallest first."""
    return [tier["name"] for tier in yaml.safe_load(config.read_text())["tiers"]]


def run(port: int, tiers: Sequence[str], asked: list[Question], size: int, width: int) -> list[Arm]:
    """Ask every arm every question, in blocks of `size` at concurrency `width`."""
    arms = [Arm(name=CASCADE, headers={})]
    arms += [Arm(name=f"{tier} alone", headers={"x-cascadia-tier": tier}) for tier in tiers]
    for arm in arms:
        send_all(port, requests(questions(SEED + 1, width), headers=arm.headers), width)
    for number, start in enumerate(range(0, len(asked), size)):
        block = asked[start : start + size]
        for arm in arms if number % 2 == 0 else reversed(arms):
            arm.add(block, send_all(port, requests(block, headers=arm.headers), width))
    return arms


def measurements(arms: Sequence[Arm]) -> list[tuple[str, str, str, Estimate]]:
    """Variant, metric, unit and value of every row; the last arm is the largest tier."""
    cascade, largest = arms[0], arms[-1]
    last_tier = largest.tiers[0]
    found = []
    for arm in arms:
        found.append((arm.name, "accuracy", "1", mean(arm.right)))
        found.append((arm.name, "requests_per_s", "1/s", spread(arm.requests_per_s)))
    found.append(
        (
            f"{cascade.name} - {largest.name}",
            "accuracy_difference",
            "1",
            mean_difference(cascade.right, largest.right),
        )
    )
    below = mean([tier != last_tier for tier in cascade.tiers])
    found.append((cascade.name, f"share_answered_below_{last_tier}", "1", below))
    return found


def rows_of(arms: Sequence[Arm], case: str, facts: Facts) -> list[Row]:
    """All rows of a run."""
    return [
        make_row(
            facts, bench=BENCH, case=case, variant=variant, metric=metric, unit=unit, value=value
        )
        for variant, metric, unit, value in measurements(arms)
    ]


def report(arms: Sequence[Arm], case: str, facts: Facts) -> str:
    """Markdown: a line an arm, the difference, where the numbers come from."""
    lines = [
        "# Accuracy of the demo cascade",
        "",
        f"{case}. Intervals are 95 %, normal.",
        "",
        "| | accuracy | requests/s (median of blocks) | answered by |",
        "|---|---|---|---|",
    ]
    for arm in arms:
        right = mean(arm.right)
        shares = ", ".join(
            f"{tier} {count / len(arm.tiers):.3f}"
            for tier, count in sorted(Counter(arm.tiers).items())
        )
        lines.append(
            f"| {arm.name} | {right.p50:.4f} [{right.low95:.4f}, {right.high95:.4f}] "
            f"| {spread(arm.requests_per_s).p50:.4g} | {shares} |"
        )
    cascade, largest = arms[0], arms[-1]
    gap = mean_difference(cascade.right, largest.right)
    lines += [
        "",
        f"Cascade less {largest.name}, paired: {gap.p50:+.4f} "
        f"[{gap.low95:+.4f}, {gap.high95:+.4f}].",
        "",
        source_line(facts),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("bench/ladder/cascade.yaml"))
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--block", type=int, default=200, help="prompts a block")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--port", type=int, default=31000)
    parser.add_argument("--smoke", action="store_true", help="64 prompts; writes nothing")
    args = parser.parse_args()
    count, size = (64, 32) if args.smoke else (args.prompts, args.block)
    facts = facts_of_this_run("bench.router.accuracy")
    flags = ("--plugin", "cascadia", "--cascade-config", str(args.config))
    case = f"{count} prompts, {args.config}, concurrency {args.concurrency}"
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "server.log"
        with running_server((*flags, "--log-level", "warning"), port=args.port, log=log) as port:
            tiers = tier_names(args.config)
            arms = run(port, tiers, questions(SEED, count), size, args.concurrency)
    print(report(arms, case, facts))
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows_of(arms, case, facts))
        (RESULTS / f"{BENCH}.md").write_text(report(arms, case, facts))


if __name__ == "__main__":
    main()
