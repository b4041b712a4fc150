"""NVIDIA's tools around `one_step`: how they are called, and what they print."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import ROOT
from bench.gpu_check.results import Check

COLUMNS_DRY = 2003


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a tool printed; `is_there` is False where this machine does not have it."""

    is_there: bool
    code: int
    text: str


def around_one_step(check: Check, tool: Sequence[str], rows: int, share: float) -> Ran:
    """Run `one_step` in a tool; alone where the tool is missing.

    Args:
        share: of the stage's time that is left, which the tool may take.
    """
    is_there = shutil.which(tool[0]) is not None
    command = [sys.executable, "-m", "bench.gpu_check.checks.one_step", "--rows", str(rows)]
    if check.dry:
        command += ["--columns", str(COLUMNS_DRY)]
    try:
        done = subprocess.run(
            [*(tool if is_there else ()), *command],
            cwd=ROOT,
            # Every allocation one of its own, so that a read past its end is seen.
            env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=max(1.0, share * check.left_s()),
        )
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
        return Ran(is_there=is_there, code=124, text=text)
    print(done.stdout, flush=True)
    return Ran(is_there=is_there, code=done.returncode, text=done.stdout)


def errors_found(text: str) -> int | None:
    """Errors by compute-sanitizer's own count; None where it did not get so far."""
    counts = re.findall(r"ERROR SUMMARY: (\d+) error", text)
    return int(counts[-1]) if counts else None


def counter_values(text: str) -> Iterator[tuple[str, str, str, float]]:
    """Kernel, metric, unit and value of every line of ncu's CSV, whatever stands before it."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith('"ID"')]
    for line in csv.DictReader(lines[starts[-1] :]) if starts else ():
        value = (line.get("Metric Value") or "").replace(",", "")
        if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value):
            name = line["Kernel Name"].partition("(")[0]
            yield name, line["Metric Name"], line["Metric Unit"], float(value)
