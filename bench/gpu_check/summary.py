"""The table that ends a run: every stage, how it ended, and what did not pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_check.results import STEPS, read_lines
from bench.gpu_check.runner import Outcome

SUMMARY = "summary.txt"
_MOST_FAILED = 6  # named of a stage
_MOST_NUMBERS = 8


def summary(outcomes: Sequence[Outcome], lines: Iterable[dict[str, Any]]) -> str:
    """Markdown: a row a stage, then its numbers and the checks that did not pass.

    Args:
        lines: of `STEPS`, those of this run.
    """
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_stage.setdefault(line["stage"], []).append(line)
    table = [
        "| stage | outcome | s | limit s | numbers | checks passed |",
        "|---|---|---|---|---|---|",
    ]
    details: list[str] = []
    for outcome in outcomes:
        lines_of_stage = by_stage.get(outcome.stage, [])
        checks = [line for line in lines_of_stage if line["kind"] == "check"]
        numbers = [line for line in lines_of_stage if line["kind"] == "number"]
        passed = sum(line["passed"] for line in checks)
        table.append(
            f"| {outcome.stage} | {outcome.outcome} | {outcome.seconds:.1f} "
            f"| {outcome.limit_s:.0f} | {len(numbers)} | {passed} of {len(checks)} |"
        )
        failed = [line for line in checks if not line["passed"]]
        details += [_told(line) for line in numbers[-_MOST_NUMBERS:]]
        details += [
            f"{outcome.stage}: NOT PASSED: {_found(line)}" for line in failed[:_MOST_FAILED]
        ]
    return "\n".join([*details, "", *table, ""])


def _told(line: dict[str, Any]) -> str:
    return (
        f"{line['stage']}: {line['case']}: {line['variant']}: "
        f"{line['metric']} {line['value']:g} {line['unit']}"
    )


def _found(line: dict[str, Any]) -> str:
    left_out = ("stage", "kind", "what", "passed", "date_utc")
    values = ", ".join(f"{key} {value}" for key, value in line.items() if key not in left_out)
    return f"{line['what']}: {values}"[:600]


def write_summary(out: Path, outcomes: Sequence[Outcome], earlier: int) -> str:
    """Write the summary beside the results; gives it back.

    Args:
        earlier: lines of `STEPS` that were there before this run.
    """
    text = summary(outcomes, list(read_lines(out / STEPS))[earlier:])
    (out / SUMMARY).write_text(text)
    return text
