"""What reading drafts is worth: requests per second of a cascade with and without.

A small and a large tier, once writing every answer anew, once reading drafts always, once where it
is expected to pay. The servers get the same questions at concurrency 64, one after the other in
turn. Reading changes no answer, so the threshold that suits one suits all; accuracy is compared
question by question.

Example:
    python -m bench.drafts.rate                # writes bench/results/verify.csv
    python -m bench.drafts.rate --smoke        # one short round; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.admin import ask as ask_admin
from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio, spread
from bench.harness.load import requests
from bench.harness.rows import CaseRows, Facts, Row, facts_of_this_run, save_rows
from bench.prefix.serving import serving, tier
from demo.tasks.families import TEST_FAMILIES, is_correct
from demo.tasks.families import Row as Question
from demo.tasks.splits import sample

ARMS = ("off", "on", "auto")
FAMILIES: dict[str, Sequence[str]] = {
    "steps": ("steps",),
    "all families": TEST_FAMILIES,
    # Short drafts of which little is kept.
    "add and mul": ("add", "mul"),
}
CONCURRENCY = 64
SEED = 61_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rounds and questions a round."""

    rounds: int
    questions: int


FULL = Size(rounds=7, questions=384)
SMOKE = Size(rounds=1, questions=48)


@dataclass(slots=True)
class ArmResult:
    """Of one arm: requests per second a round, and of every question what came of it.

    Attributes:
        kept_share: of the drafts' tokens; None where none was read.
        break_even: the share that had to be kept when the last draft came, by the server's own
            counters.
        later: attempts of the tiers above the first, as responses tell them.
    """

    kept_share: float | None = None
    break_even: float | None = None
    rates: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    later: list[dict[str, Any]] = field(default_factory=list)


def configured(drafts: str, threshold: float) -> dict[str, Any]:
    """The cascade of one arm."""
    return {
        "tiers": [tier("small", page_tokens=1), tier("large", page_tokens=1)],
        "routing": {"thresholds": [threshold], "drafts": drafts},
    }


def ask(port: int, questions: Sequence[Question], arm: ArmResult) -> None:
    """One round of one arm."""
    sent = send_all(port, requests(questions), CONCURRENCY)
    arm.rates.append(sent.requests_per_s)
    for question, reply in zip(questions, sent.replies, strict=True):
        body = reply.json()
        arm.right.append(float(is_correct(question, body["text"])))
        arm.later += body["meta_info"]["cascadia"]["attempts"][1:]


def measure(
    ports: Mapping[str, int], families: Sequence[str], size: Size, seed: int
) -> dict[str, ArmResult]:
    """All rounds of a workload, after one that does not count."""
    results = {arm: ArmResult() for arm in ports}
    before = {arm: drafts(port) for arm, port in ports.items()}
    for number in range(-1, size.rounds):
        questions = sample("test", seed + number, size.questions, families)
        # Every arm is first, second and last as often as the others.
        turn = number % len(ports)
        order = [*list(ports)[turn:], *list(ports)[:turn]]
        for arm in order:
            ask(ports[arm], questions, ArmResult() if number < 0 else results[arm])
        if number >= 0:
            print(json.dumps({arm: round(results[arm].rates[-1], 2) for arm in ports}), flush=True)
    for arm, result in results.items():
        now = drafts(ports[arm])
        tokens = now["read_tokens"] - before[arm]["read_tokens"]
        if tokens:
            result.kept_share = (now["kept_tokens"] - before[arm]["kept_tokens"]) / tokens
        result.break_even = now["break_even"]
    return results


def drafts(port: int) -> dict[str, Any]:
    """What a server has read of drafts so far."""
    counts: dict[str, Any] | None = ask_admin(port, "GET", "/cascadia/status")["tiers"][1]["drafts"]
    return counts or {"read_tokens": 0, "kept_tokens": 0, "break_even": None}


def rows_of(
    workload: str, threshold: float, results: dict[str, ArmResult], facts: Facts
) -> list[Row]:
    """Each arm's numbers, and those of reading against writing anew."""
    case = f"{workload}, threshold {threshold:g}, concurrency {CONCURRENCY}"
    rows = CaseRows(facts, "verify.rate", case)
    off = results["off"]
    for arm, result in results.items():
        name = f"verify: {arm}"
        rows.add(name, "requests per second", "1/s", spread(result.rates))
        rows.add(name, "accuracy", "1", mean(result.right))
        share = len(result.later) / len(result.right)
        rows.add(name, "escalated", "1", Estimate(p50=share, n=len(result.right)))
        read = [attempt for attempt in result.later if "kept" in attempt]
        if read:
            kept_tokens = sum(attempt["kept"] for attempt in read)
            written = sum(attempt["tokens"] for attempt in read)
            verified = float(np.mean([attempt["reason"] == "verified" for attempt in read]))
            share = len(read) / len(result.later)
            rows.add(
                name, "escalations that read a draft", "1", Estimate(p50=share, n=len(result.later))
            )
            rows.add(
                name,
                "of answers: kept",
                "1",
                Estimate(p50=kept_tokens / (kept_tokens + written), n=len(read)),
            )
            rows.add(name, "drafts kept whole", "1", Estimate(p50=verified, n=len(read)))
        if result.kept_share is not None:
            rows.add(name, "of drafts: kept", "1", Estimate(p50=result.kept_share, n=len(read)))
        if result.break_even is not None:
            least = Estimate(p50=result.break_even, n=1)
            rows.add(name, "of drafts: to be kept at the least", "1", least)
        if arm != "off":
            rows.add(
                f"{name} / off", "requests per second", "1", median_ratio(result.rates, off.rates)
            )
            rows.add(f"{name} - off", "accuracy", "1", mean_difference(result.right, off.right))
    return rows.rows


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=31800)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--workload", choices=FAMILIES, help="this one alone")
    parser.add_argument("--smoke", action="store_true", help="one short round; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.drafts.rate")
    size = SMOKE if options.smoke else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ports = {
            arm: stack.enter_context(
                serving(folder, options.port + number, configured(arm, options.threshold))
            )
            for number, arm in enumerate(ARMS)
        }
        for number, (workload, families) in enumerate(FAMILIES.items()):
            if options.workload not in (None, workload):
                continue
            results = measure(ports, families, size, SEED + 100 * number)
            rows += rows_of(workload, options.threshold, results, facts)
    if not options.smoke:
        save_rows(RESULTS / "verify.csv", rows)


if __name__ == "__main__":
    main()
