"""What the stages write as they go: JSON lines of everything, CSV rows of every number."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, make_row

STEPS = "steps.jsonl"
ROWS = "rows.csv"

# Set by the runner for its stages.
MACHINE = "CASCADIA_GPU_CHECK_MACHINE"
COMMIT = "CASCADIA_GPU_CHECK_COMMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a stage has at hand.

    Attributes:
        out: folder of the results.
        work: folder of this stage's own files, gone after the run; server logs end in `.log`.
        dry: whether there is no card: tiny sizes on the CPU, times that mean nothing.
        ends_at: on `time.monotonic()`, when the stage is ended.
    """

    stage: str
    out: Path
    work: Path
    dry: bool
    ends_at: float
    facts: Facts

    def number(
        self, case: str, variant: str, metric: str, unit: str, value: Estimate | float
    ) -> None:
        """Write a measured number."""
        estimate = value if isinstance(value, Estimate) else Estimate(p50=value, n=1)
        row = make_row(
            self.facts,
            bench=f"gpu_check.{self.stage}",
            case=case,
            variant=variant,
            metric=metric,
            unit=unit,
            value=estimate,
        )
        append_row(self.out / ROWS, row)
        self._append("number", case=case, variant=variant, metric=metric, unit=unit, value=row.p50)

    def passes(self, what: str, passed: bool, **details: Any) -> bool:
        """Write whether something is as it must be, with what was found; gives `passed` back."""
        self._append("check", what=what, passed=bool(passed), **details)
        return bool(passed)

    def note(self, what: str, **details: Any) -> None:
        """Write something that is neither a number nor right or wrong."""
        self._append("note", what=what, **details)

    def left_s(self) -> float:
        """Until the stage is ended."""
        return self.ends_at - time.monotonic()

    def _append(self, kind: str, **fields: Any) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = {"stage": self.stage, "kind": kind, **fields, "date_utc": at}
        print(f"{kind}: {json.dumps(fields, default=str)}", flush=True)
        append_line(self.out / STEPS, line)


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON line, whole or not at all."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, default=str) + "\n")


def append_row(path: Path, row: Row) -> None:
    """Add one CSV row, after the names of the columns where the file is new."""
    columns = [field.name for field in dataclasses.fields(Row)]
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(dataclasses.asdict(row))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that may be missing; a last one that is cut off is left out."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def facts_of_stage(command: str) -> Facts:
    """The card, the code and the versions that a stage's rows belong to."""
    return Facts(
        machine=os.environ.get(MACHINE, "unknown"),
        commit=os.environ.get(COMMIT, "unknown"),
        dirty=False,
        torch=_version("torch"),
        sglang=_version("sglang"),
        date_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        command=command,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
