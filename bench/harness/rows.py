"""One measured number a row, with the machine and the code it belongs to, kept as CSV."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import ROOT
from bench.harness.estimates import Estimate

_KEY = ("bench", "case", "variant", "metric", "machine")
# The folders of a path from the root, alone or after the "=" of an option.
_FOLDERS = re.compile(r"(?:^|(?<==))/(?:[^/]*/)*(?=[^/])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What all rows of one run share; `dirty` where the tree differed from the commit."""

    machine: str
    commit: str
    dirty: bool
    torch: str
    sglang: str
    date_utc: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A metric of one variant in one case; the order of the fields is that of the columns."""

    bench: str
    case: str
    variant: str
    metric: str
    unit: str
    p50: float
    p20: float | None
    p80: float | None
    low95: float | None
    high95: float | None
    n: int
    machine: str
    commit: str
    dirty: bool
    torch: str
    sglang: str
    date_utc: str
    command: str


class CaseRows:
    """Rows of one case of a bench, each printed as it is added."""

    def __init__(self, facts: Facts, bench: str, case: str) -> None:
        self.rows: list[Row] = []
        self._facts, self._bench, self._case = facts, bench, case

    def add(self, variant: str, metric: str, unit: str, value: Estimate) -> None:
        """One more metric of a variant."""
        print(f"{self._case}: {variant}: {metric}: {value.p50:.4f} [{value.low95}, {value.high95}]")
        self.rows.append(
            make_row(
                self._facts,
                bench=self._bench,
                case=self._case,
                variant=variant,
                metric=metric,
                unit=unit,
                value=value,
            )
        )


def make_row(
    facts: Facts, *, bench: str, case: str, variant: str, metric: str, unit: str, value: Estimate
) -> Row:
    """A row of an estimate, to five digits."""
    return Row(
        bench=bench,
        case=case,
        variant=variant,
        metric=metric,
        unit=unit,
        p50=_rounded(value.p50),
        p20=None if value.p20 is None else _rounded(value.p20),
        p80=None if value.p80 is None else _rounded(value.p80),
        low95=None if value.low95 is None else _rounded(value.low95),
        high95=None if value.high95 is None else _rounded(value.high95),
        n=value.n,
        **dataclasses.asdict(facts),
    )


def facts_of_this_run(module: str) -> Facts:
    """Read them from the machine, the repository and the command line of `python -m module`."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return Facts(
        machine=machine(),
        commit=_git("rev-parse", "--short=12", "HEAD"),
        dirty=bool(changed),
        torch=version("torch"),
        sglang=version("sglang"),
        date_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        command=command_line(module, sys.argv[1:]),
    )


def command_line(module: str, arguments: Sequence[str]) -> str:
    """A bench's command; of a path from the root, whose folders no other machine has, the name."""
    return shlex.join(["python", "-m", module, *(_FOLDERS.sub("", word) for word in arguments)])


def machine() -> str:
    """This machine in a few words: cores, processor, memory.

    Family and model belong to it: hosts of several generations call themselves "AMD EPYC".
    """
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    name = facts.get("model name", "unknown processor")
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return f"{cores} cores of {name} with {memory_bytes / 2**30:.0f} GiB"


def save_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a CSV file; one of the same bench, case, variant, metric and machine goes."""
    by_key: dict[tuple[str, ...], dict[str, object]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for old in csv.DictReader(file):
                by_key[tuple(old[name] for name in _KEY)] = dict(old)
    by_key.update({tuple(getattr(row, n) for n in _KEY): dataclasses.asdict(row) for row in rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        columns = [field.name for field in dataclasses.fields(Row)]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(by_key.values())


def source_line(facts: Facts) -> str:
    """The line of a report that says where its numbers come from."""
    dirty = " with local changes" if facts.dirty else ""
    return (
        f"`{facts.command}` on {facts.machine}; commit {facts.commit}{dirty}, "
        f"SGLang {facts.sglang}, torch {facts.torch}, {facts.date_utc}."
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"
